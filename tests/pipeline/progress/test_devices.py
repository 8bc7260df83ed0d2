"""When a device is given up, and what its actors are told."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from pipeline.driver.watch import NoDeviceLeft, Watch
from pipeline.progress import prometheus
from pipeline.progress.control import ControlRoom, RoomState
from pipeline.progress.counts import Counts
from pipeline.progress.devices import GIVEN_UP_AFTER, DevicePlace

GPU = DevicePlace("n1", "alpha (10.0.0.1)", "3")
OTHER = DevicePlace("n1", "alpha (10.0.0.1)", "0")


def room(losses: int = 0) -> ControlRoom:
    """A room in its first round, to which an actor has reported the loss of its device so often."""
    made = ControlRoom()
    made.new_round(1, ())
    for _ in range(losses):
        assert made.begin("a", GPU) 
        made.lose("a", GPU, "CUDA error")
    return made


def test_a_device_that_is_lost_again_and_again_is_given_up() -> None:
    used = room(GIVEN_UP_AFTER)
    assert not used.begin("a", GPU) and not used.begin("b", GPU)
    assert used.begin("c", OTHER) 
    (lost,) = used.state().lost
    assert str(lost) == "GPU 3 of node alpha (10.0.0.1) was lost 3 times and is given up: CUDA error"
    assert used.state().without == 2
    assert used.lost_by("a") == "CUDA error" and used.lost_by("c") is None


def test_a_device_on_which_clips_are_committed_in_between_is_kept() -> None:
    used = room(GIVEN_UP_AFTER - 1)
    assert used.begin("a", GPU) 
    used.report("a", Counts(commits=1), Counts())
    used.lose("a", GPU, "CUDA error")
    assert used.begin("a", GPU) 
    (lost,) = used.state().lost
    assert (lost.losses, lost.in_a_row, lost.given_up) == (3, 1, False)


def test_actors_without_a_device_wait_while_others_work() -> None:
    used = room(GIVEN_UP_AFTER)
    used.begin("a", GPU)
    assert not used.others_work()
    used.begin("b", OTHER)
    assert used.others_work()
    used.stop()
    assert not used.others_work()


def test_a_room_that_is_started_anew_is_told_what_was_lost() -> None:
    anew = ControlRoom()
    assert anew.begin("a", OTHER) 
    anew.new_round(4, room(GIVEN_UP_AFTER).state().lost)
    assert not anew.begin("b", GPU)


class Control:
    """Knows what it is given."""

    def __init__(self, state: RoomState) -> None:
        self.state = state

    def counts(self, *, wait_s: float) -> Counts:
        return Counts()


class Display:
    def update(self, counts: Counts, *, last: bool) -> None: ...


def watch(used: ControlRoom, *, left: bool = True) -> Any:
    made: Any = Watch
    return made(Control(used.state()), Display(), 0.5, lambda: False, lambda given_up: left, "run-1")


@pytest.fixture
def metrics(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, ...], float]:
    """Every metric's value by its name and tags."""
    values: dict[tuple[str, ...], float] = {}

    class Instrument:
        def __init__(self, name: str) -> None:
            self.name = name

        def inc(self, amount: float, tags: dict[str, str]) -> None:
            key = (self.name, *tags.values())
            values[key] = values.get(key, 0) + amount

        def set(self, value: float, tags: dict[str, str]) -> None:
            values[self.name, *tags.values()] = value

    monkeypatch.setattr(prometheus, "instrument", Instrument)
    return values


def test_losses_are_said_and_counted_once(
    metrics: dict[tuple[str, ...], float], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    used = room(1)
    looking = watch(used)
    assert looking.look() is None and looking.look() is None
    used.lose("b", GPU, "CUDA error")
    looking.control = Control(used.state())
    assert looking.look() is None
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "GPU 3 of node alpha (10.0.0.1) was lost once",
        "GPU 3 of node alpha (10.0.0.1) was lost 2 times",
    ]
    assert metrics == {
        ("siammask_device_losses_total", "run-1", str(GPU)): 2,
        ("siammask_devices_given_up", "run-1"): 0,
    }


@pytest.mark.usefixtures("metrics")
def test_the_run_stops_only_where_no_device_is_left() -> None:
    assert watch(room(GIVEN_UP_AFTER)).look() is None
    assert watch(room(GIVEN_UP_AFTER - 1), left=False).look() is None
    reason = watch(room(GIVEN_UP_AFTER), left=False).look()
    assert isinstance(reason, NoDeviceLeft) and "GPU 3 of node alpha" in str(reason)
