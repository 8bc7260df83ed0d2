"""What an actor makes of a driver that does not answer."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorUnavailableError, RayActorError

from pipeline.progress import Counts, Tally
from pipeline.segmenter import Segmenter


class Control:
    """Fails as told, then takes what it gets."""

    def __init__(self, *failures: Exception) -> None:
        self.failures, self.got, self.report = list(failures), Counts(), self

    def remote(self, actor: str, done: Counts, waiting: Counts) -> Any:
        if self.failures:
            raise self.failures.pop(0)
        self.got.add(done)
        return False


@pytest.fixture
def actor(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("ray.get", lambda answer: answer)
    one = object.__new__(Segmenter)
    one._id, one._metrics = "actor-1", SimpleNamespace(report=lambda counts, engine: None)  # type: ignore[assignment]
    one._tally, one._stop, one._sending, one._busy_sent = Tally(), threading.Event(), threading.Lock(), 0.0
    one._engine = SimpleNamespace(stats=lambda: SimpleNamespace(busy_s=2.0))  # type: ignore[assignment]
    return one


def test_a_gap_in_the_network_loses_no_counts_and_stops_nothing(actor: Any) -> None:
    control = Control(ActorUnavailableError("a gap", None))
    actor._plan = SimpleNamespace(control=control)
    actor._tally.add(ok=1, frames=5)
    assert [actor._send(), actor._send()] == [True, True]
    assert control.got == Counts(ok=1, frames=5, busy_s=2.0)
    assert not actor._stop.is_set()


def test_a_driver_that_is_gone_ends_the_work(actor: Any) -> None:
    actor._plan = SimpleNamespace(control=Control(RayActorError()))
    assert not actor._send()
    assert actor._stop.is_set()
