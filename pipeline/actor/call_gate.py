"""How many shards an actor works on at once: two, and more once its clips are seen to be long enough to gain by it.

Decoding more clips side by side fills the batches of an engine, and costs a start for each; on clips of a few frames
that start is all there is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pipeline.plan.placement import CALLS_PER_ACTOR
from pipeline.progress.counts import Counts

LONG = 10
"""Frames that clips have to have, on average."""
_LOOK_S = 0.2


class CallGate:
    """Lets calls in. Thread-safe.

    Args:
        calls: most at once.
        counts: what the actor has done so far.
        stop: set where waiting is in vain.
    """

    def __init__(self, calls: int, counts: Callable[[], Counts], stop: threading.Event) -> None:
        self._calls, self._counts, self._stop = calls, counts, stop
        self._lock, self._inside, self._is_open = threading.Lock(), 0, False

    @contextmanager
    def entered(self) -> Iterator[bool]:
        """Wait for a place, and keep it inside the block; False, at once, where all is to stop."""
        entered = self._enter()
        while not entered and not self._stop.wait(_LOOK_S):
            entered = self._enter()
        try:
            yield entered
        finally:
            if entered:
                with self._lock:
                    self._inside -= 1

    def _enter(self) -> bool:
        with self._lock:
            if self._inside >= (self._calls if self._opened() else CALLS_PER_ACTOR):
                return False
            self._inside += 1
        return True

    def _opened(self) -> bool:
        """Whether the clips that have ended and those inside have frames enough; once they had, it stays so."""
        if not self._is_open:
            counts = self._counts()
            self._is_open = counts.frames >= LONG * max(1, counts.clips + self._inside)
        return self._is_open
