"""Time limits, and signs of life from work that takes a while."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import TypeVar

from model.video.errors import VideoError
from pipeline.decode.block import BEAT_SECONDS

T = TypeVar("T")


class ClipTimer:
    """Time spent on a clip, without the time that the consumer takes between events."""

    def __init__(self, location: str, limit: float) -> None:
        self._location = location
        self._limit = limit
        self._since = time.monotonic()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """The consumer's own time."""
        paused = time.monotonic()
        yield
        self._since += time.monotonic() - paused

    def check(self) -> None:
        """Raises VideoError `Timeout` once the limit has passed; frames handed out before are right."""
        spent = time.monotonic() - self._since
        if spent > self._limit:
            message = (
                f"{self._location} took {spent:.0f} s to fetch and decode, "
                f"the limit for one clip is {self._limit:.0f} s"
            )
            raise VideoError("decode", "Timeout", message, keep_rows=True)


def with_beats(work: Callable[[], T], clock: ClipTimer) -> Generator[None, None, T]:
    """Run `work` in a thread; yields None as a sign of life while it runs and returns its result.

    Raises what `work` raises, and `Timeout` of the clock, in which case the thread is left to itself.
    """
    done: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(work())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(BEAT_SECONDS)
        if thread.is_alive():
            clock.check()
            yield None
    if failed:
        raise failed[0]
    return done[0]
