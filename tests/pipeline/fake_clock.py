"""A clock for tests: who sleeps moves the time on, and threads that wait wake when their moment comes."""

from __future__ import annotations

import threading
from collections.abc import Callable


class FakeClock:
    """A `pipeline.storage.clock.Clock` that passes hours in no time.

    One thread sleeps, any number wait for events. The time stops at the moment of each waiting thread until that
    thread waits again or ends, so that nothing is late however busy the machine is.
    """

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []
        self._changed = threading.Condition()
        self._due: dict[threading.Thread, float] = {}
        self._busy: set[threading.Thread] = set()
        self._planned: list[tuple[float, Callable[[], object]]] = []

    def monotonic(self) -> float:
        return self.now

    def after(self, seconds: float, action: Callable[[], object]) -> None:
        """Call `action` when so much time has passed."""
        self._planned.append((self.now + seconds, action))

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        end = self.now + seconds
        while True:
            with self._changed:
                self._settle()
                moments = [*self._due.values(), *(moment for moment, _ in self._planned)]
                self.now = max(self.now, min([end, *moments]))
                for thread in [thread for thread, due in self._due.items() if due <= self.now]:
                    del self._due[thread]
                    self._busy.add(thread)
                self._changed.notify_all()
                self._settle()
                planned = [item for item in self._planned if item[0] <= self.now]
                self._planned = [item for item in self._planned if item not in planned]
            for _, action in planned:
                action()
            if self.now >= end:
                return

    def wait(self, event: threading.Event, seconds: float) -> bool:
        thread = threading.current_thread()
        with self._changed:
            self._due[thread] = self.now + seconds
            self._busy.discard(thread)
            self._changed.notify_all()
            while thread in self._due and not event.is_set():
                self._changed.wait(0.01)  # an event that is set does not notify
            self._due.pop(thread, None)
            self._busy.add(thread)
        return event.is_set()

    def _settle(self) -> None:
        """Wait until every thread that was woken waits again or has ended."""
        while self._busy:
            self._changed.wait(0.005)  # a thread that ends does not notify
            self._busy = {thread for thread in self._busy if thread.is_alive()}
