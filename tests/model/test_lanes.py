"""Lanes of a CPU: they share tracks and threads, and change no answer."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from model.engine import Engine
from model.live_track import Request, init_request
from model.network import SiamMask
from model.request_queue import RequestQueue
from model.tracker import PRESETS
from tests.model.tracks import BOXES, alone, cpu_threads, lively, same, texture


@pytest.fixture(scope="module")
def model() -> SiamMask:
    return lively()


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    return texture()


def request(frames: list[np.ndarray]) -> Request:
    return init_request(frames[0], BOXES[0], PRESETS["vot"].context)


@pytest.mark.parametrize(("threads", "count"), [(2, 1), (2, 2), (2, 7), (3, 2), (3, 16)])
def test_lanes_change_no_answer(model, frames, threads, count):
    with cpu_threads(1):
        wanted = alone(model, frames, BOXES[:count])
    with cpu_threads(threads), Engine(model, PRESETS["vot"], max_tracks=16) as engine:
        assert len(engine._lanes) == threads

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


def test_lanes_work_side_by_side_on_a_thread_each(model, frames, monkeypatch):
    with cpu_threads(2), Engine(model, PRESETS["vot"]) as engine:
        tracks = [engine.init(frames[0], box).result()[0] for box in BOXES[:2]]
        launch, together, threads = engine._stepper.launch, threading.Barrier(2), []

        def meet(inputs):
            threads.append(torch.get_num_threads())
            together.wait(20)
            return launch(inputs)

        monkeypatch.setattr(engine._stepper, "launch", meet)
        for future in [engine.step(track, frames[1]) for track in tracks]:
            future.result()
        assert threads == [1, 1]


def test_a_single_track_has_all_threads(model, frames, monkeypatch):
    with cpu_threads(3), Engine(model, PRESETS["vot"]) as engine:
        track, _ = engine.init(frames[0], BOXES[0]).result()
        launch, threads = engine._stepper.launch, []

        def look(inputs):
            threads.append(torch.get_num_threads())
            return launch(inputs)

        monkeypatch.setattr(engine._stepper, "launch", look)
        for frame in frames[1:]:
            engine.step(track, frame).result()
        assert threads == [3] * (len(frames) - 1)


def test_the_number_of_threads_is_as_before_once_the_engine_is_closed(model, frames):
    with cpu_threads(3):
        with Engine(model, PRESETS["vot"]) as engine:
            for future in [engine.init(frames[0], box) for box in BOXES[:6]]:
                future.result()
        assert torch.get_num_threads() == 3
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(torch.get_num_threads).result() == 3


def test_a_failure_gives_the_threads_back(model, frames, monkeypatch):
    with cpu_threads(2), Engine(model, PRESETS["vot"]) as engine:
        track, _ = engine.init(frames[0], BOXES[0]).result()
        launch = engine._stepper.launch

        def refuse(inputs):
            raise ArithmeticError("bad")

        monkeypatch.setattr(engine._stepper, "launch", refuse)
        for _ in range(4):
            with pytest.raises(ArithmeticError):
                engine.step(track, frames[1]).result()
        monkeypatch.setattr(engine._stepper, "launch", launch)
        engine.step(track, frames[1]).result()
        deadline = time.monotonic() + 20
        while engine._queue._claimed and time.monotonic() < deadline:
            time.sleep(0.001)
        assert (engine._queue._claimed, engine._queue._working) == (0, 0)


def test_close_ends_every_lane(model, frames):
    with cpu_threads(3), Engine(model, PRESETS["vot"]) as engine:
        futures = [engine.init(frames[0], box) for box in BOXES]
    assert not any(lane.is_alive() for lane in engine._lanes)
    assert all(future.done() for future in futures)


@pytest.mark.parametrize(
    ("threads", "tracks", "claims"),
    [(1, 5, [1]), (2, 1, [2]), (2, 2, [1, 1]), (3, 2, [2, 1]), (3, 9, [1, 1, 1]), (8, 3, [3, 3, 2])],
)
def test_threads_are_shared_by_the_lanes_that_have_tracks(frames, threads, tracks, claims):
    queue = RequestQueue(lanes=threads, depth=1, threads=threads, limit=16)
    kept = [request(frames) for _ in range(tracks)]
    assert all(queue.put(each) for each in kept)
    assert [queue.claim() for _ in claims] == claims
    for claim in claims:
        queue.give_back(claim)
    assert queue.claim() == claims[0]


def test_tracks_are_shared_by_the_lanes(frames):
    queue = RequestQueue(lanes=3, depth=1, threads=3, limit=16)
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
    queue = RequestQueue(lanes=2, depth=1, threads=2, limit=16)
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
