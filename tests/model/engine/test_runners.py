"""An engine's runners on a CPU: they share tracks and threads, and change no answer."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from model.engine import Engine
from model.engine.request_queue import RequestQueue
from model.engine.stepper import Stepper
from model.engine.track import Request, init_request
from model.tracker import PRESETS
from tests.model.engine.tracks import BOXES, alone, cpu_threads, same


def runners() -> list[threading.Thread]:
    """The threads of the engines that are open."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("siammask-runner")]


def request(frames: list[np.ndarray]) -> Request:
    return init_request(frames[0], BOXES[0], PRESETS["vot"])


@pytest.mark.parametrize(("threads", "count"), [(2, 1), (2, 2), (2, 7), (3, 2), (3, 16)])
def test_runners_change_no_answer(model, frames, threads, count):
    with cpu_threads(1):
        wanted = alone(model, frames, BOXES[:count])
    with cpu_threads(threads), Engine(model, PRESETS["vot"], max_tracks=16) as engine:
        assert len(runners()) == threads

        def clip(box):
            track, output = engine.init(frames[0], box).result()
            return [output, *(engine.step(track, frame).result() for frame in frames[1:])]

        with ThreadPoolExecutor(count) as pool:
            paths = list(pool.map(clip, BOXES[:count]))
        stats = engine.stats()
    for path, other in zip(paths, wanted, strict=True):
        same(path, other)
    assert stats.tracks == count * len(frames)
    assert stats.busy_s > 0


def test_runners_work_side_by_side_on_a_thread_each(model, frames, monkeypatch):
    with cpu_threads(2), Engine(model, PRESETS["vot"]) as engine:
        tracks = [engine.init(frames[0], box).result()[0] for box in BOXES[:2]]
        launch, together, threads = Stepper.launch, threading.Barrier(2), []

        def meet(stepper, inputs):
            threads.append(torch.get_num_threads())
            together.wait(20)
            return launch(stepper, inputs)

        monkeypatch.setattr(Stepper, "launch", meet)
        for future in [engine.step(track, frames[1]) for track in tracks]:
            future.result()
        assert threads == [1, 1]


def test_a_single_track_has_all_threads(model, frames, monkeypatch):
    with cpu_threads(3), Engine(model, PRESETS["vot"]) as engine:
        track, _ = engine.init(frames[0], BOXES[0]).result()
        launch, threads = Stepper.launch, []

        def look(stepper, inputs):
            threads.append(torch.get_num_threads())
            return launch(stepper, inputs)

        monkeypatch.setattr(Stepper, "launch", look)
        deadline = time.monotonic() + 20
        while 3 not in threads and time.monotonic() < deadline:
            engine.step(track, frames[1]).result()
            time.sleep(0.01)  # a runner gives its threads back after it has answered
        assert threads[-1] == 3


def test_the_number_of_threads_is_as_before_once_the_engine_is_closed(model, frames):
    with cpu_threads(3):
        with Engine(model, PRESETS["vot"]) as engine:
            for future in [engine.init(frames[0], box) for box in BOXES[:6]]:
                future.result()
        assert torch.get_num_threads() == 3
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(torch.get_num_threads).result() == 3


def test_a_failure_gives_the_threads_back(model, frames, monkeypatch):
    launch, threads = Stepper.launch, []

    def refuse(stepper, inputs):
        raise ArithmeticError("bad")

    def look(stepper, inputs):
        threads.append(torch.get_num_threads())
        return launch(stepper, inputs)

    with cpu_threads(2), Engine(model, PRESETS["vot"]) as engine:
        track, _ = engine.init(frames[0], BOXES[0]).result()
        monkeypatch.setattr(Stepper, "launch", refuse)
        for _ in range(4):
            with pytest.raises(ArithmeticError):
                engine.step(track, frames[1]).result()
        monkeypatch.setattr(Stepper, "launch", look)
        deadline = time.monotonic() + 20
        while 2 not in threads and time.monotonic() < deadline:
            engine.step(track, frames[1]).result()
            time.sleep(0.01)  # a runner gives its threads back after it has answered
        assert threads[-1] == 2, "a single track has all threads"


def test_close_ends_every_runner(model, frames):
    with cpu_threads(3), Engine(model, PRESETS["vot"]) as engine:
        futures = [engine.init(frames[0], box) for box in BOXES]
    assert runners() == []
    assert all(future.done() for future in futures)


@pytest.mark.parametrize(
    ("threads", "tracks", "claims"),
    [(1, 5, [1]), (2, 1, [2]), (2, 2, [1, 1]), (3, 2, [2, 1]), (3, 9, [1, 1, 1]), (8, 3, [3, 3, 2])],
)
def test_threads_are_shared_by_the_runners_that_have_tracks(frames, threads, tracks, claims):
    queue = RequestQueue(runners=threads, depth=1, threads=threads, limit=16)
    kept = [request(frames) for _ in range(tracks)]
    assert all(queue.put(each) for each in kept)
    assert [queue.claim() for _ in claims] == claims
    for claim in claims:
        queue.give_back(claim)
    assert queue.claim() == claims[0]


def test_tracks_are_shared_by_the_runners(frames):
    queue = RequestQueue(runners=3, depth=1, threads=3, limit=16)
    kept = [request(frames) for _ in range(8)]
    for each in kept:
        queue.put(each)
    assert [len(queue.take(None)) for _ in range(3)] == [3, 3, 2]
    queue.close()
    assert queue.take(None) == []
    assert not queue.put(kept[0])


def test_half_a_cpu_is_half_busy(frames, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    queue = RequestQueue(runners=2, depth=1, threads=2, limit=16)
    kept = [request(frames) for _ in range(2)]
    for each in kept:
        queue.put(each)
    claimed = queue.claim()
    clock[0] += 4
    assert queue.times() == (2, 2)
    other = queue.claim()
    clock[0] += 3
    queue.give_back(claimed)
    queue.give_back(other)
    clock[0] += 1
    assert queue.times() == (5, 3)
