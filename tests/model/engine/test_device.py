"""An engine on a device that answers late, has too little memory, breaks, or hangs."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator

import pytest
import torch

from model.engine import Engine, request_queue
from model.engine import runner as runners
from model.engine.request_queue import RequestQueue
from model.engine.runner import BatchRunner
from model.engine.stepper import Flight
from model.errors import DeviceLost, device_lost, out_of_memory
from model.tracker import PRESETS
from model.tracker.rivals import ALONE, Others
from tests.model.engine.fake_cuda import FakeCuda, cuda
from tests.model.engine.tracks import BOXES, same

__all__ = ["cuda"]
pytestmark = pytest.mark.usefixtures("one_runner")
LOST = RuntimeError("CUDA error: unspecified launch failure\nCompile with TORCH_USE_CUDA_DSA")


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runners, "MEMORY_PAUSES_S", (0.01, 0.01, 0.01))


@pytest.fixture
def engine(model, cuda) -> Iterator[Engine]:
    with Engine(model, PRESETS["vot"], device="cuda", max_tracks=8) as engine:
        yield engine


def begin(engine, frames, count=8):
    return [future.result()[0] for future in [engine.init(frames[0], box) for box in BOXES[:count]]]


def step(engine, tracks, frame):
    return [future.result(timeout=30) for future in [engine.step(track, frame) for track in tracks]]


def test_answers_are_read_after_they_have_arrived(engine, cuda, frames, wanted):
    tracks = begin(engine, frames)
    for number, frame in enumerate(frames[1:], 1):
        for output, path in zip(step(engine, tracks, frame), wanted, strict=False):
            same([output], [path[number]])
    assert cuda.waits == engine.stats().steps


def test_a_batch_is_ready_once_its_answers_have_arrived(cuda):
    nothing = torch.empty(0)
    _, arrival = cuda.fetch([nothing])
    under_way, done = (Flight(0, nothing, nothing, nothing, each) for each in (arrival, None))
    assert done.ready() and [under_way.ready(), under_way.ready()] == [False, True]


def peak_of(engine: Engine, cuda: FakeCuda, tracks: list, frame) -> int:
    """Most bytes that a step of these tracks takes beyond those that stay."""
    gc.collect()
    before, cuda.memory.most = cuda.memory.used, 0
    step(engine, tracks, frame)
    return cuda.memory.most - before


def test_a_batch_too_large_for_the_memory_is_run_in_halves_and_nobody_fails(engine, cuda, frames, wanted):
    tracks = begin(engine, frames)
    gc.collect()
    gc.disable()  # what only the collector frees is not free
    try:
        base = cuda.memory.used
        cuda.memory.budget = base + 1.2 * peak_of(engine, cuda, tracks[:2], frames[1])
        for output, path in zip(step(engine, tracks[2:], frames[1]), wanted[2:], strict=False):
            same([output], [path[1]])
        assert engine._queue.limit in (1, 2) and cuda.released
        for output, path in zip(step(engine, tracks, frames[2]), wanted, strict=False):
            same([output], [path[2]])
        deadline = time.monotonic() + 5
        while cuda.memory.used > base and time.monotonic() < deadline:
            time.sleep(0.01)  # the engine's thread lets go of a batch after it has answered
        assert cuda.memory.used <= base, "what a failed attempt made is gone"
    finally:
        gc.enable()


def test_what_is_tried_again_has_the_device_to_itself(engine, cuda, frames, wanted):
    tracks = begin(engine, frames)
    all_asked, under_way = threading.Event(), []

    def refuse_the_second() -> None:
        assert all_asked.wait(30)
        under_way.append(len(cuda.under_way))
        if len(under_way) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory")

    cuda.on_start = refuse_the_second
    futures = [engine.step(track, frames[1]) for track in tracks]
    all_asked.set()
    for future, path in zip(futures, wanted, strict=False):
        same([future.result(timeout=30)], [path[1]])
    assert under_way[:4] == [0, 1, 0, 0], "a batch, one beside it that is refused, and its two halves"


def test_a_track_keeps_no_memory_of_those_it_was_started_with(engine, cuda, frames):
    first = begin(engine, frames, 1)  # what is made once is there
    time.sleep(0.1)
    gc.collect()
    base = cuda.memory.used
    last = begin(engine, frames)[-1]
    deadline = time.monotonic() + 5
    while cuda.memory.used > base and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.01)  # the engine's thread lets go of a batch after it has answered
    assert cuda.memory.used <= base and last.kernels is not None and first


def test_places_to_avoid_are_those_of_one_track(engine, cuda, frames, wanted, monkeypatch):
    """Memory of the host holds what was there before: here, for places, all that there is."""
    clean = cuda.host

    def used(shape, dtype):
        content = clean(shape, dtype)
        if shape[-1] == 4:
            content[:] = torch.tensor([0.0, 0.0, 1e6, 1e6])
        return content

    monkeypatch.setattr(cuda, "host", used)
    tracks = begin(engine, frames, 2)
    far = Others(taken=[(2000.0, 2000.0, 10.0, 10.0)])
    futures = [engine.step(track, frames[1], others) for track, others in zip(tracks, (far, ALONE), strict=True)]
    for future, path in zip(futures, wanted, strict=False):
        same([future.result(timeout=30)], [path[1]])


def test_the_limit_comes_back_once_there_is_memory(model, cuda, frames, monkeypatch):
    monkeypatch.setattr(request_queue, "_RAISE_AFTER", 1)
    with Engine(model, PRESETS["vot"], device="cuda", max_tracks=8) as engine:
        tracks = begin(engine, frames)
        cuda.memory.budget = 0
        refused = [engine.step(track, frames[1]) for track in tracks]
        assert {type(future.exception(timeout=30)) for future in refused} == {torch.OutOfMemoryError}
        assert engine._queue.limit == 1
        cuda.memory.budget = float("inf")
        for _ in range(20):
            step(engine, tracks, frames[1])
        assert engine._queue.limit == 8


def test_a_single_track_waits_for_memory_that_others_hold(engine, cuda, frames, wanted):
    (track,) = begin(engine, frames, 1)
    refusals = iter([torch.OutOfMemoryError("CUDA out of memory")] * 3)

    def others() -> None:
        if (error := next(refusals, None)) is not None:
            raise error

    cuda.on_start = others
    same(step(engine, [track], frames[1]), [wanted[0][1]])
    cuda.memory.budget = 0
    with pytest.raises(torch.OutOfMemoryError):
        step(engine, [track], frames[2])
    cuda.memory.budget = float("inf")
    same(step(engine, [track], frames[2]), [wanted[0][2]])


def test_a_lowered_limit_comes_back_slowly_and_slower_each_time():
    queue = RequestQueue(runners=1, depth=1, threads=1, limit=8)
    assert queue.lower_limit(4) and queue.lower_limit(2) and not queue.lower_limit(2)
    queue.succeeded(1)
    limits = []
    for _ in range(1024):
        queue.succeeded(queue.limit)
        limits.append(queue.limit)
    assert (limits.count(2), limits.count(4)) == (255, 256) and limits[-1] == 8
    queue.lower_limit(4)
    for _ in range(511):
        queue.succeeded(4)
    assert queue.limit == 4
    queue.succeeded(4)
    assert queue.limit == 8


@pytest.mark.parametrize("late", [False, True])
def test_a_lost_device_fails_every_request_and_ends_the_thread(engine, cuda, frames, late):
    tracks = begin(engine, frames)

    def fail() -> None:
        raise LOST

    if late:
        cuda.error_on_wait = LOST
    else:
        cuda.on_start = fail
    for future in [engine.step(track, frames[1]) for track in tracks]:
        assert isinstance(future.exception(timeout=30), DeviceLost)
    engine._runners[0].join(30)
    assert not engine._runners[0].is_alive()
    with pytest.raises(DeviceLost, match=r"^CUDA error: unspecified launch failure$"):
        engine.init(frames[0], BOXES[0]).result()


def test_whatever_ends_the_thread_answers_every_request(engine, frames, monkeypatch):
    tracks = begin(engine, frames)

    def end(*_: object) -> None:
        raise SystemExit(3)

    monkeypatch.setattr(BatchRunner, "_resolve", end)
    futures = [engine.step(track, frames[1]) for track in tracks]
    assert {type(future.exception(timeout=30)) for future in futures} == {DeviceLost}
    assert "SystemExit" in str(futures[0].exception())


def test_requests_wait_while_the_device_hangs(engine, cuda, frames):
    (track,) = begin(engine, frames, 1)
    cuda.hanging = threading.Event()
    future = engine.step(track, frames[1])
    time.sleep(0.2)
    assert not future.done()
    cuda.hanging.set()
    assert future.result(timeout=30)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RuntimeError("CUDA error: an illegal memory access was encountered"), "lost"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), "lost"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`"), "lost"),
        (torch.AcceleratorError("device-side assert triggered"), "lost"),
        (DeviceLost("silent"), "lost"),
        (torch.OutOfMemoryError("CUDA out of memory"), "memory"),
        (torch.AcceleratorError("CUDA error: out of memory"), "memory"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), "memory"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "memory"),
        (RuntimeError("Sizes of tensors must match"), "other"),
        (ValueError("a video called CUDA error"), "other"),
        (MemoryError("out of memory"), "other"),
    ],
)
def test_errors_are_told_apart(error, kind):
    assert (device_lost(error), out_of_memory(error)) == (kind == "lost", kind == "memory")
