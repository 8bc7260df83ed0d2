"""How many shards an actor works on at once, by the length of their clips."""

from __future__ import annotations

import threading

import pytest

from pipeline.actor import call_gate
from pipeline.actor.call_gate import LONG, CallGate
from pipeline.progress.counts import Counts


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_gate, "_LOOK_S", 0.001)


class Calls:
    """Calls that stay inside until they are let out."""

    def __init__(self, calls: int = 8) -> None:
        self.counts, self.stop = Counts(), threading.Event()
        self.gate = CallGate(calls, lambda: self.counts, self.stop)
        self.entered, self.out = threading.Semaphore(0), threading.Event()
        self.threads: list[threading.Thread] = []
        self.answers: list[bool] = []

    def start(self, count: int) -> None:
        for _ in range(count):
            self.threads.append(threading.Thread(target=self._call))
            self.threads[-1].start()

    def _call(self) -> None:
        with self.gate.entered() as entered:
            self.answers.append(entered)
            self.entered.release()
            self.out.wait(30)

    def come_in(self, count: int) -> bool:
        """Whether exactly so many more come in."""
        came = all(self.entered.acquire(timeout=10) for _ in range(count))
        return came and not self.entered.acquire(timeout=0.1)

    def end(self) -> None:
        self.out.set()
        for thread in self.threads:
            thread.join(30)


@pytest.fixture
def calls() -> Calls:
    return Calls()


def test_two_come_in_and_the_others_once_the_first_clips_are_seen_to_be_long(calls: Calls) -> None:
    calls.start(10)
    assert calls.come_in(2)
    calls.counts.frames = 2 * LONG - 1
    assert calls.come_in(0)
    calls.counts.frames = 2 * LONG
    assert calls.come_in(6)
    calls.counts.ok = 1000
    calls.end()
    assert calls.answers == [True] * 10


def test_clips_of_a_few_frames_stay_two_at_a_time(calls: Calls) -> None:
    calls.counts = Counts(ok=90, failed=10, frames=100 * (LONG - 1))
    calls.start(3)
    assert calls.come_in(2)
    calls.end()
    assert len(calls.answers) == 3, "who waited takes a place that is given up"


def test_nobody_waits_where_all_is_to_stop(calls: Calls) -> None:
    calls.start(3)
    assert calls.come_in(2)
    calls.stop.set()
    assert calls.come_in(1)
    calls.end()
    assert calls.answers == [True, True, False]


def test_a_call_that_fails_gives_up_its_place(calls: Calls) -> None:
    for _ in range(3):
        with pytest.raises(KeyError), calls.gate.entered() as entered:
            assert entered
            raise KeyError
