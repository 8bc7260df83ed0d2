"""Requests that wait for an engine's runners, and how the runners share them and the threads of a CPU."""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque

from model.engine.stepper import Flight
from model.engine.track import Request, Track

_GATHER_S = 0.001  # longest wait for more requests than one
_RAISE_AFTER, _RAISE_AFTER_AT_MOST = 64, 4096  # full batches that a lowered limit has to hold before it is raised


class RequestQueue:
    """Hands out batches. Thread-safe.

    Args:
        runners: how many take batches.
        depth: batches that one runner has in flight.
        threads: CPU threads that the runners share; 1 on a GPU.
        spreads: whether a runner takes the threads that no other needs; else it has one.
        limit: most search windows in a batch; a single request may have more. `lower_limit` lowers it; as full batches
            succeed it slowly comes back.
    """

    def __init__(self, *, runners: int, depth: int, threads: int, limit: int, spreads: bool = True) -> None:
        self.limit = self._most = limit
        self.threads, self._spreads = threads, spreads
        self._full, self._raise_after = 0, _RAISE_AFTER
        self._runners, self._depth = runners, depth
        self._wake = threading.Condition()
        self._pending: deque[Request] = deque()
        self._tracks: weakref.WeakSet[Track] = weakref.WeakSet()
        self._refusal: Exception | None = None
        self._working = self._claimed = 0  # runners at work, and the threads they have
        self._since = self._changed = time.perf_counter()
        self._busy_s = 0.0

    @property
    def closed(self) -> bool:
        return self._refusal is not None

    def refusal(self) -> Exception:
        """Why no request is taken any more, as an error of the caller's own, which raising it changes."""
        assert self._refusal is not None
        return type(self._refusal)(*self._refusal.args)

    def put(self, request: Request) -> bool:
        """Add a request; false where the queue is closed."""
        with self._wake:
            if self.closed:
                return False
            request.track.latest = request.future
            self._tracks.add(request.track)
            self._pending.append(request)
            self._wake.notify()
        return True

    def close(self, reason: Exception | None = None) -> None:
        """Hand out no more; the first reason stays, which is by default that the engine is closed."""
        with self._wake:
            self._refusal = self._refusal or reason or RuntimeError("the engine is closed")
            self._wake.notify_all()

    def wait_closed(self, seconds: float) -> bool:
        """Wait so long, or until the queue is closed; returns whether it is."""
        with self._wake:
            return self._wake.wait_for(lambda: self.closed, seconds)

    def drain(self) -> list[Request]:
        """Take all that nobody has cancelled."""
        with self._wake:
            left, self._pending = self._pending, deque()
        return [request for request in left if request.future.set_running_or_notify_cancel()]

    def take(self, flight: Flight | None) -> list[Request]:
        """Wait for requests and take up to a batch of them; none once the queue is closed.

        With a batch in flight, waits until that one is done or the next is full; otherwise until there is a
        request and then a moment longer for the tracks that are about to have one.
        """
        with self._wake:
            while flight is None and not self._pending and not self.closed:
                self._wake.wait()
            deadline = time.perf_counter() + _GATHER_S
            while not self.closed and len(self._pending) < self._wanted():
                if flight is None:
                    left = deadline - time.perf_counter()
                    if left <= 0:
                        break
                    self._wake.wait(left)
                elif flight.ready():
                    break
                else:
                    self._wake.wait(_GATHER_S / 5)
            if self.closed:
                return []
            taken: list[Request] = []
            windows = 0
            while self._pending and len(taken) < self._wanted():
                windows += len(self._pending[0].crops)
                if taken and windows > self.limit:
                    break
                taken.append(self._pending.popleft())
        return [request for request in taken if request.future.set_running_or_notify_cancel()]

    def lower_limit(self, limit: int) -> bool:
        """Hand out at most so many at once from now on; returns whether it was more before."""
        with self._wake:
            lowered = limit < self.limit
            if lowered:
                self.limit, self._full = limit, 0
                self._raise_after = min(2 * self._raise_after, _RAISE_AFTER_AT_MOST)
        return lowered

    def succeeded(self, count: int) -> None:
        """A batch of so many has been computed."""
        with self._wake:
            if count < self.limit or self.limit == self._most:
                return
            self._full += 1
            if self._full >= self._raise_after:
                self.limit, self._full = min(2 * self.limit, self._most), 0

    def claim(self) -> int:
        """Threads for a runner that begins to work: its part of those that no other has. To be given back."""
        with self._wake:
            others = max(1, self._sharing() - self._working)
            threads = max(1, -(-(self.threads - self._claimed) // others)) if self._spreads else 1
            self._account(1, threads)
        return threads

    def give_back(self, threads: int) -> None:
        with self._wake:
            self._account(-1, -threads)

    def times(self) -> tuple[float, float]:
        """Seconds of work and of idleness since the queue was made: parts of the threads count as parts of the time."""
        with self._wake:
            self._account(0, 0)
            return self._busy_s, max(0.0, self._changed - self._since - self._busy_s)

    def _account(self, runners: int, threads: int) -> None:
        now = time.perf_counter()
        self._busy_s += (now - self._changed) * min(1.0, self._claimed / self.threads)
        self._changed = now
        self._working += runners
        self._claimed += threads

    def _sharing(self) -> int:
        """Runners that the live tracks can keep at work."""
        return min(self._runners, max(1, len(self._tracks)))

    def _wanted(self) -> int:
        """As many requests as make a batch worth starting: the live tracks, shared by the batches in flight."""
        return min(self.limit, max(1, -(-len(self._tracks) // (self._sharing() * self._depth))))
