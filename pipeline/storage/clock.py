"""The time as what waits sees it, so that a test can pass hours without waiting."""

from __future__ import annotations

import threading
import time


class Clock:
    """The machine's own time. All times in seconds."""

    def monotonic(self) -> float:
        """A time that never goes back; only differences mean anything."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait for an event for so long; whether it is set."""
        return event.wait(seconds)


CLOCK = Clock()
