"""What a tracker actor tells the driver, every second and at the end of each call, and what it is told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from pipeline.progress.tally import Tally

REPORT_EVERY_S = 1.0
_CLOSE_WITHIN_S = 5.0


class Reporter:
    """Sends an actor's counts from a thread of its own, which ends with `close`.

    Args:
        actor: the actor's id.
        control: handle of the run's `ControlRoom`.
        tally: the counts.
        measure: called before each report, to bring the counts up to date.
        stop: set where the run is to stop, or the driver is gone, and with it who could use the rows.
    """

    def __init__(
        self, actor: str, control: Any, tally: Tally, measure: Callable[[], None], stop: threading.Event
    ) -> None:
        self._actor, self._control, self._tally, self._measure, self._stop = actor, control, tally, measure, stop
        self._sending, self._closing = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="report", daemon=True)

    def start(self) -> None:
        """Report every second from now on."""
        self._thread.start()

    def send(self) -> bool:
        """Report now; False where the driver is gone."""
        import ray

        with self._sending:
            self._measure()
            done, waiting = self._tally.drain()
            try:
                if ray.get(self._control.report.remote(self._actor, done, waiting)):
                    self._stop.set()
            except ray.exceptions.ActorUnavailableError:  # a gap in the network: the shards to come are still wanted
                self._tally.put_back(done)
            except ray.exceptions.RayError:
                self._stop.set()
                return False
            return True

    def close(self) -> None:
        """End the thread: where a process ends while one of its threads asks Ray for something, Ray crashes."""
        self._closing.set()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(_CLOSE_WITHIN_S)

    def _run(self) -> None:
        while self.send() and not self._closing.wait(REPORT_EVERY_S):
            pass
