"""Requests that wait for an engine's lanes, and how the lanes share them and the threads of a CPU."""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque

from model.live_track import Request, Track
from model.stepper import Flight

_GATHER_S = 0.001  # longest wait for more requests than one


class RequestQueue:
    """Hands out batches. Thread-safe.

    Args:
        lanes: how many take batches.
        depth: batches that one lane has in flight.
        threads: CPU threads that the lanes share; 1 on a GPU.
        limit: most requests in a batch; `limit` may be lowered later.
    """

    def __init__(self, *, lanes: int, depth: int, threads: int, limit: int) -> None:
        self.limit = limit
        self.threads = threads
        self._lanes, self._depth = lanes, depth
        self._wake = threading.Condition()
        self._pending: deque[Request] = deque()
        self._tracks: weakref.WeakSet[Track] = weakref.WeakSet()
        self._closed = False
        self._working = self._claimed = 0  # lanes at work, and the threads they have
        self._since = self._changed = time.perf_counter()
        self._busy_s = 0.0

    @property
    def closed(self) -> bool:
        return self._closed

    def put(self, request: Request) -> bool:
        """Add a request; false where the queue is closed."""
        with self._wake:
            if self._closed:
                return False
            request.track.latest = request.future
            self._tracks.add(request.track)
            self._pending.append(request)
            self._wake.notify()
        return True

    def close(self) -> None:
        """Hand out no more."""
        with self._wake:
            self._closed = True
            self._wake.notify_all()

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
            while flight is None and not self._pending and not self._closed:
                self._wake.wait()
            deadline = time.perf_counter() + _GATHER_S
            while not self._closed and len(self._pending) < self._wanted():
                if flight is None:
                    left = deadline - time.perf_counter()
                    if left <= 0:
                        break
                    self._wake.wait(left)
                elif flight.ready():
                    break
                else:
                    self._wake.wait(_GATHER_S / 5)
            if self._closed:
                return []
            taken = [self._pending.popleft() for _ in range(min(self._wanted(), len(self._pending)))]
        return [request for request in taken if request.future.set_running_or_notify_cancel()]

    def claim(self) -> int:
        """Threads for a lane that begins to work: its part of those that no other has. To be given back."""
        with self._wake:
            others = max(1, self._sharing() - self._working)
            threads = max(1, -(-(self.threads - self._claimed) // others))
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

    def _account(self, lanes: int, threads: int) -> None:
        now = time.perf_counter()
        self._busy_s += (now - self._changed) * min(1.0, self._claimed / self.threads)
        self._changed = now
        self._working += lanes
        self._claimed += threads

    def _sharing(self) -> int:
        """Lanes that the live tracks can keep at work."""
        return min(self._lanes, max(1, len(self._tracks)))

    def _wanted(self) -> int:
        """As many requests as make a batch worth starting: the live tracks, shared by the batches in flight."""
        return min(self.limit, max(1, -(-len(self._tracks) // (self._sharing() * self._depth))))
