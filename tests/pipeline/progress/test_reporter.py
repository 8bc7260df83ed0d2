"""What an actor makes of a driver that does not answer, and how its reporting ends."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from ray.exceptions import ActorUnavailableError, RayActorError

from pipeline.progress import reporter
from pipeline.progress.counts import Counts
from pipeline.progress.reporter import Reporter
from pipeline.progress.tally import Tally


class Control:
    """Fails as told, then takes what it gets."""

    def __init__(self, *failures: Exception) -> None:
        self.failures, self.got, self.reports, self.report = list(failures), Counts(), 0, self

    def remote(self, actor: str, done: Counts, waiting: Counts) -> Any:
        self.reports += 1
        if self.failures:
            raise self.failures.pop(0)
        self.got.add(done)
        return False


@pytest.fixture(autouse=True)
def local(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.get", lambda answer: answer)
    monkeypatch.setattr(reporter, "REPORT_EVERY_S", 0.02)


def _reporter(control: Control) -> tuple[Reporter, Tally, threading.Event]:
    tally, stop = Tally(), threading.Event()
    return Reporter("actor-1", control, tally, lambda: tally.add(busy_s=1.0), stop), tally, stop


def test_a_gap_in_the_network_loses_no_counts_and_stops_nothing() -> None:
    control = Control(ActorUnavailableError("a gap", None))
    one, tally, stop = _reporter(control)
    tally.add(ok=1, frames=5)
    assert [one.send(), one.send()] == [True, True]
    assert control.got == Counts(ok=1, frames=5, busy_s=2.0)
    assert not stop.is_set()


def test_a_driver_that_is_gone_ends_the_work() -> None:
    one, _, stop = _reporter(Control(RayActorError()))
    assert not one.send()
    assert stop.is_set()


def test_it_reports_until_it_is_closed_and_never_after() -> None:
    """Ray crashes a process that ends while one of its threads asks for something."""
    control = Control()
    one, _, _ = _reporter(control)
    one.start()
    while control.reports < 3:
        time.sleep(0.01)
    one.close()
    before = control.reports
    time.sleep(0.2)
    assert control.reports == before and not one._thread.is_alive()
