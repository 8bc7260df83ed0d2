"""What the driver knows of its actors, whatever happens to them and to the room they report to."""

from __future__ import annotations

import io
import os
import signal
import time
from typing import Any

import pytest

from pipeline.driver.watch import BreakerOpen, Watch
from pipeline.progress.control import Control, ControlRoom, RoomState
from pipeline.progress.counts import Counts
from pipeline.progress.display import ProgressDisplay


def _sum(room: ControlRoom) -> Counts:
    state = room.state()
    state.done.add(state.waiting)
    return state.done


def test_what_a_dead_actor_had_not_committed_is_not_counted_twice() -> None:
    room = ControlRoom()
    room.report("one", Counts(ok=1, frames=10), Counts(ok=2, frames=25))
    room.report("two", Counts(ok=4), Counts(frames=3))
    # The first one dies, is started again, and does the two clips that waited for their commit once more.
    room.report("one", Counts(), Counts(frames=5))
    room.report("one", Counts(ok=2, frames=25), Counts())
    room.forget_waiting()
    assert _sum(room) == Counts(ok=7, frames=35)


def test_reports_carry_the_wish_to_stop() -> None:
    room = ControlRoom()
    assert room.report("one", Counts(), Counts()) is False
    room.stop()
    assert room.report("one", Counts(), Counts()) is True


def _watch(counts: Counts, lost: bool = False) -> Exception | None:
    class Fixed:
        state = RoomState("life", Counts(), Counts(), 0.0)

        def counts(self, *, wait_s: float) -> Counts:
            return counts

    with ProgressDisplay(100, io.StringIO()) as display:
        return Watch(Fixed(), display, 0.5, lambda: lost).look()


def test_the_breaker_opens_when_too_many_have_failed() -> None:
    assert _watch(Counts(ok=10, failed=10)) is None
    assert _watch(Counts(failed=19)) is None  # too few to judge
    assert isinstance(_watch(Counts(ok=9, failed=11)), BreakerOpen)


def test_a_lost_lease_ends_the_run() -> None:
    assert "took over" in str(_watch(Counts(), lost=True))


def test_a_run_whose_actors_are_silent_says_so_every_minute(caplog: pytest.LogCaptureFixture) -> None:
    class Silent:
        state = RoomState("life", Counts(), Counts(), 0.0)

        def counts(self, *, wait_s: float) -> Counts:
            return Counts()

    control = Silent()
    with ProgressDisplay(100, io.StringIO()) as display:
        watch = Watch(control, display, 0.5, lambda: False)
        said = []
        for quiet_s in (5.0, 59.0, 61.0, 62.0, 110.0, 125.0, 1.0, 30.0, 70.0):
            control.state = RoomState("life", Counts(), Counts(), quiet_s)
            watch.look()
            said.append(len(caplog.records))
    assert said == [0, 0, 1, 1, 1, 2, 2, 2, 3]
    assert "no tracker actor has reported for 125 s" in caplog.text


def test_a_killed_room_is_started_again_and_no_count_is_lost(ray_local: None) -> None:
    import ray

    control = Control()
    ray.get(control.room.report.remote("one", Counts(ok=3, frames=7), Counts(frames=2)))
    assert control.counts(wait_s=60) == Counts(ok=3, frames=9)
    pid = ray.get(_pid(control.room))
    os.kill(pid, signal.SIGKILL)
    ray.get(control.room.report.remote("one", Counts(ok=1, frames=2), Counts(frames=4)), timeout=60)
    assert ray.get(_pid(control.room)) != pid
    assert control.counts(wait_s=60) == Counts(ok=4, frames=13)
    control.add(Counts(failed=1))
    assert control.counts(wait_s=60) == Counts(ok=4, failed=1, frames=13)
    ray.kill(control.room)


def _pid(actor: Any) -> Any:
    return actor.__ray_call__.remote(lambda _: os.getpid())


def test_a_room_that_does_not_answer_is_no_fault(monkeypatch: pytest.MonkeyPatch, ray_local: None) -> None:
    import ray

    control = Control()
    ray.get(control.room.report.remote("one", Counts(ok=3), Counts()))
    assert control.counts(wait_s=60).ok == 3
    real = ray.get

    def away(*_: object, **__: object) -> Any:
        raise ray.exceptions.ActorUnavailableError("a gap in the network", None)

    monkeypatch.setattr(ray, "get", away)
    assert control.counts().ok == 3
    monkeypatch.setattr(ray, "get", real)
    ray.kill(control.room)


@pytest.mark.alone
def test_a_busy_room_keeps_nobody_waiting(ray_local: None) -> None:
    """A signal that comes while the driver is inside of Ray waits until it is out again."""
    import ray

    control = Control()
    ray.get(control.room.report.remote("one", Counts(ok=3), Counts()))
    assert control.counts(wait_s=60).ok == 3
    control.room.__ray_call__.remote(lambda _: time.sleep(3))
    began = time.monotonic()
    assert control.counts().ok == 3
    assert time.monotonic() - began < 1.5
    ray.kill(control.room)
