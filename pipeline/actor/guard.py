"""The guard of an actor's device: when it is lost, or does not answer in time, the actor is to end.

An error of the device, or its silence, is no fault of the clips in work: they get no row, and their shards run again
in the actor's next life, or elsewhere.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

from model.errors import device_lost
from model.track.object_tracker import TrackingEngine
from model.tracker.rivals import ALONE, Others

logger = logging.getLogger(__name__)

START_S = 600.0
"""An engine may take so long to be made: its code and its weights come over a network, and kernels are compiled."""
COMPILE_S = 600.0
"""So much longer may a step take where `--compile` compiles it for a size of batch that is new."""


class DeviceGuard:
    """Waits with an actor for its device, and ends the actor where that is in vain.

    A request is given up when it has been the oldest one that is unanswered for `timeout_s`: others before it, of
    which there may be many, do not count against it.

    Args:
        timeout_s: the longest silence.
        end: ends this process, given the reason; called once, from any thread.
    """

    def __init__(self, timeout_s: float, end: Callable[[str], None]) -> None:
        self._timeout_s, self._end = timeout_s, end
        self._lock = threading.Lock()
        self._waiting: dict[int, float] = {}
        self._numbers = itertools.count()
        self._ended = self._closed = False
        self._pause_s = min(1.0, timeout_s / 10)
        threading.Thread(target=self._watch, name="device-guard", daemon=True).start()

    @contextlib.contextmanager
    def waiting(self, limit_s: float) -> Iterator[None]:
        """What is done inside waits for the device, and may take so long; an error of the device ends the actor."""
        number = self._asked(limit_s)
        try:
            yield
        except Exception as error:
            self.check(error)
            raise
        finally:
            self._answered(number)

    def ask(self, request: Callable[[], Future[Any]]) -> Future[Any]:
        """Make a request of the engine and watch over its answer."""
        number = self._asked(self._timeout_s)

        def done(future: Future[Any]) -> None:
            self._answered(number)
            if not future.cancelled() and (error := future.exception()) is not None:
                self.check(error)

        try:
            future = request()
        except Exception as error:
            self._answered(number)
            self.check(error)
            raise
        future.add_done_callback(done)
        return future

    def check(self, error: BaseException) -> None:
        """End the actor where this error means that its device is lost."""
        if device_lost(error):
            self.lose(str(error).partition("\n")[0])

    def lose(self, reason: str) -> None:
        """The device is lost: end the actor."""
        with self._lock:
            ended, self._ended = self._ended, True
        if not ended:
            self._end(reason)

    def close(self) -> None:
        """Watch no more."""
        self._closed = True

    def _asked(self, limit_s: float) -> int:
        with self._lock:
            number = next(self._numbers)
            self._waiting[number] = limit_s
        return number

    def _answered(self, number: int) -> None:
        with self._lock:
            self._waiting.pop(number, None)

    def _watch(self) -> None:
        oldest, since = -1, 0.0
        while not self._closed:
            with self._lock:
                number, limit_s = next(iter(self._waiting.items()), (-1, 0.0))
            if number != oldest:
                oldest, since = number, time.monotonic()
            elif number >= 0 and time.monotonic() - since > limit_s:
                self.lose(f"it has not answered for {limit_s:g} s")
                return
            time.sleep(self._pause_s)


class GuardedEngine:
    """An engine under guard (`TrackingEngine`)."""

    def __init__(self, engine: TrackingEngine, guard: DeviceGuard) -> None:
        self._engine, self._guard = engine, guard

    def init(self, frame: Any, box: Any) -> Future[Any]:
        return self._guard.ask(lambda: self._engine.init(frame, box))

    def step(self, track: Any, frame: Any, others: Others = ALONE, *, again: bool = False) -> Future[Any]:
        return self._guard.ask(lambda: self._engine.step(track, frame, others, again=again))
