"""The guard of an actor's device: what ends the actor, and what does not."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest

from benchmarks.null_model import NullEngine
from model.errors import DeviceLost
from model.track.object_tracker import ObjectTracker
from model.track.objects import Lifetimes, Span
from model.tracker.rivals import ALONE, Others
from pipeline.actor.guard import DeviceGuard, GuardedEngine

LOST = RuntimeError("CUDA error: unspecified launch failure\nCompile with `TORCH_USE_CUDA_DSA`")
FRAME, BOX = np.zeros((4, 4, 3), np.uint8), np.array([0.0, 0, 2, 2])


class End:
    """Notes why and when the actor was to end."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.came, self.began = threading.Event(), time.monotonic()
        self.after_s = 0.0

    def __call__(self, reason: str) -> None:
        self.reasons.append(reason)
        self.after_s = time.monotonic() - self.began
        self.came.set()


@pytest.fixture
def end() -> End:
    return End()


@pytest.fixture
def guard(end: End) -> Iterator[DeviceGuard]:
    guard = DeviceGuard(0.3, end)
    yield guard
    guard.close()


class Scripted:
    """Answers as it is told: later, by an error, or with its caller."""

    def __init__(self) -> None:
        self.futures: list[Future[Any]] = []

    def init(self, frame: Any, box: Any) -> Future[Any]:
        self.futures.append(Future())
        return self.futures[-1]

    def step(self, track: Any, frame: Any, others: Others = ALONE, *, again: bool = False) -> Future[Any]:
        if isinstance(track, Exception):
            raise track
        time.sleep(track)
        return self.init(frame, None)


def test_an_engine_that_answers_is_left_alone(guard: DeviceGuard, end: End) -> None:
    engine = GuardedEngine(NullEngine(0.1), guard)
    track, _ = engine.init(FRAME, BOX).result()
    for _ in range(6):
        engine.step(track, FRAME).result()
    time.sleep(0.5)
    assert not end.reasons


@pytest.mark.parametrize("by", ["future", "call"])
def test_an_error_of_the_device_ends_the_actor_once(guard: DeviceGuard, end: End, by: str) -> None:
    engine, scripted = GuardedEngine(inner := Scripted(), guard), inner
    for _ in range(2):
        if by == "future":
            engine.init(FRAME, BOX)
            scripted.futures[-1].set_exception(LOST)
        else:
            with pytest.raises(RuntimeError):
                engine.step(LOST, FRAME)
    assert end.reasons == ["CUDA error: unspecified launch failure"]


@pytest.mark.parametrize("error", [ValueError("CUDA error"), RuntimeError("CUDA out of memory"), FloatingPointError()])
def test_other_errors_are_the_clips(guard: DeviceGuard, end: End, error: Exception) -> None:
    engine = GuardedEngine(scripted := Scripted(), guard)
    engine.init(FRAME, BOX)
    scripted.futures[0].set_exception(error)
    with pytest.raises(type(error)):
        engine.step(error, FRAME)
    assert not end.reasons


def test_an_answer_that_does_not_come_ends_the_actor(guard: DeviceGuard, end: End) -> None:
    GuardedEngine(Scripted(), guard).init(FRAME, BOX)
    assert end.came.wait(5) and 0.3 <= end.after_s < 1.5
    assert end.reasons == ["it has not answered for 0.3 s"]


def test_so_does_one_that_is_overtaken_by_all_others(guard: DeviceGuard, end: End) -> None:
    engine = GuardedEngine(scripted := Scripted(), guard)
    engine.init(FRAME, BOX)
    while not end.came.wait(0.05) and time.monotonic() - end.began < 5:
        engine.init(FRAME, BOX)
        scripted.futures[-1].set_result(None)
    assert end.reasons


def test_and_a_call_that_does_not_return(guard: DeviceGuard, end: End) -> None:
    engine = GuardedEngine(Scripted(), guard)
    threading.Thread(target=lambda: engine.step(2.0, FRAME), daemon=True).start()
    assert end.came.wait(1.5)


@pytest.mark.alone
def test_a_long_queue_is_no_silence(guard: DeviceGuard, end: End) -> None:
    """The last of ten requests waits for three times the limit, behind the others."""
    engine = GuardedEngine(scripted := Scripted(), guard)
    for _ in range(10):
        engine.init(FRAME, BOX)
    for future in scripted.futures:
        time.sleep(0.1)
        future.set_result(None)
    assert not end.reasons


def test_what_takes_longer_has_its_own_limit(guard: DeviceGuard, end: End) -> None:
    with guard.waiting(2.0):
        time.sleep(0.6)
    assert not end.reasons
    with pytest.raises(RuntimeError), guard.waiting(2.0):
        raise LOST
    assert end.reasons == ["CUDA error: unspecified launch failure"]


def test_a_lost_device_is_no_track_error() -> None:
    """A clip's failed row is made of `TrackError` alone."""
    spans = [Span("0", 0, 9, BOX)]
    tracker = ObjectTracker(scripted := Scripted(), Lifetimes(spans))
    tracker.push(0, 0.0, FRAME)
    scripted.futures[0].set_exception(LOST)
    with pytest.raises(DeviceLost, match=r"^CUDA error: unspecified launch failure$"):
        tracker.drain()
