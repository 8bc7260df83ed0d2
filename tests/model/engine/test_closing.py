"""What an engine lets go of: requests when it is closed, those that are cancelled, tracks that have ended."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from model.engine import Engine
from model.engine.request_queue import RequestQueue
from model.engine.stepper import Flight, StepInput, Stepper
from model.engine.track import init_request, step_request
from model.tracker import PRESETS
from tests.model.engine.tracks import BOXES, same

pytestmark = pytest.mark.usefixtures("one_runner")


@dataclass(frozen=True)
class Hold:
    """A device that waits before each batch until it is let go."""

    entered: threading.Event
    go: threading.Event


def hold(monkeypatch: pytest.MonkeyPatch) -> Hold:
    launch, device = Stepper.launch, Hold(threading.Event(), threading.Event())

    def slow(stepper: Stepper, inputs: Sequence[StepInput]) -> Flight:
        device.entered.set()
        device.go.wait(10)
        return launch(stepper, inputs)

    monkeypatch.setattr(Stepper, "launch", slow)
    return device


def test_close_fails_what_waits_and_ends_the_thread(model, frames, monkeypatch):
    before = set(threading.enumerate())
    engine = Engine(model, PRESETS["vot"], max_tracks=1)
    tracks = [future.result()[0] for future in [engine.init(frames[0], box) for box in BOXES[:3]]]
    device = hold(monkeypatch)
    futures = [engine.step(track, frames[1]) for track in tracks]
    device.entered.wait(10)
    closing = threading.Thread(target=engine.close)
    closing.start()
    while not engine.init(frames[0], BOXES[0]).done():  # a closed engine refuses at once
        time.sleep(0.001)
    device.go.set()
    closing.join(20)
    assert set(threading.enumerate()) <= before
    outcomes = [future.exception(timeout=5) for future in futures]
    assert outcomes[0] is None
    assert all("closed" in str(outcome) for outcome in outcomes[1:])
    with pytest.raises(RuntimeError, match="closed"):
        engine.step(tracks[0], frames[1]).result()
    engine.close()


def test_cancelled_requests_are_dropped(model, frames, wanted, monkeypatch):
    with Engine(model, PRESETS["vot"], max_tracks=1) as engine:
        tracks = [engine.init(frames[0], box).result()[0] for box in BOXES[:2]]
        device = hold(monkeypatch)
        running, waiting = (engine.step(track, frames[1]) for track in tracks)
        device.entered.wait(10)
        assert waiting.cancel()
        device.go.set()
        running.result()
        same([engine.step(tracks[1], frames[1]).result()], [wanted[1][1]])


def test_an_engine_keeps_no_track_that_its_caller_has_let_go(model, frames):
    with Engine(model, PRESETS["vot"], max_tracks=8) as engine:
        tracks = [future.result()[0] for future in [engine.init(frames[0], box) for box in BOXES[:4]]]
        ended = [weakref.ref(track) for track in tracks[1:]]
        del tracks[1:]
        engine.step(tracks[0], frames[1]).result()  # the engine's thread lets go of the batch before
        gc.collect()
        assert [track() for track in ended] == [None] * 3


class Busy:
    """A batch under way for ever; asking for its end is waiting for more requests."""

    def ready(self) -> bool:
        raise AssertionError("it waits for requests of tracks that have ended")


def test_finished_tracks_are_not_waited_for(frames):
    queue = RequestQueue(runners=1, depth=1, threads=1, limit=8)
    requests = [init_request(frames[0], box, PRESETS["vot"]) for box in BOXES[:4]]
    for request in requests:
        queue.put(request)
    assert queue.take(Busy()) == requests
    track = requests[0].track
    requests[0].future.set_result(None)
    queue.put(step_request(track, frames[1], 0.5))
    with pytest.raises(AssertionError, match="it waits"):
        queue.take(Busy())
    del requests, request
    gc.collect()
    assert [request.track for request in queue.take(Busy())] == [track]
