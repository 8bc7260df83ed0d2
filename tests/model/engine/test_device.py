"""An engine on a device that answers late, has too little memory, breaks, or hangs."""

from __future__ import annotations

import contextlib
import gc
import threading
import time
from collections.abc import Iterator

import pytest
import torch

from model.engine import Engine, device, request_queue
from model.engine import runner as runners
from model.engine.device import Cuda
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


class Stream:
    """A stream that writes down what is asked of it."""

    def __init__(self, name: str, said: list[str]) -> None:
        self.name, self.said = name, said

    def wait_stream(self, other: Stream) -> None:
        self.said.append(f"{self.name} waits for {other.name}")


class Pixels:
    """A tensor that writes down where it is copied, and who uses the copy."""

    def __init__(self, current: list[Stream], said: list[str]) -> None:
        self.current, self.said = current, said

    def to(self, device: torch.device, *, non_blocking: bool) -> Pixels:
        assert non_blocking
        self.said.append(f"copied on {self.current[-1].name}")
        return self

    def record_stream(self, stream: Stream) -> None:
        self.said.append(f"used on {stream.name}")


def test_what_goes_in_is_copied_beside_the_work_that_goes_on_and_before_its_own(monkeypatch):
    said: list[str] = []
    current, copies = [Stream("work", said)], Stream("copies", said)

    @contextlib.contextmanager
    def entered(stream: Stream) -> Iterator[None]:
        current.append(stream)
        yield
        current.pop()

    monkeypatch.setattr(device, "_copies", lambda _: copies)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: current[-1])
    monkeypatch.setattr(torch.cuda, "stream", entered)
    Cuda(torch.device("cuda")).send(Pixels(current, said))
    assert said == ["copied on copies", "work waits for copies", "used on work"]


def test_who_waits_for_answers_sleeps(monkeypatch):
    made: list[dict[str, bool]] = []

    class Event:
        def __init__(self, **options: bool) -> None:
            made.append(options)

        def record(self, stream: object) -> None: ...

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: None)
    Cuda(torch.device("cuda")).fetch([])
    assert made == [{"blocking": True}]


class HostProgram:
    """TF32 as a program that uses this engine may have set it, the newer way or the older."""

    @staticmethod
    def newer(scope: str, value: str) -> None:
        owner = {"all": torch.backends, "cudnn": torch.backends.cudnn, "conv": torch.backends.cudnn.conv}[scope]
        owner.fp32_precision = value

    @staticmethod
    def older(allowed: bool) -> None:
        torch.backends.cudnn.allow_tf32 = allowed


@pytest.fixture
def host() -> Iterator[HostProgram]:
    cudnn = torch.backends.cudnn
    owners = (torch.backends, cudnn, cudnn.conv, cudnn.rnn)
    before = [owner.fp32_precision for owner in owners]
    yield HostProgram()
    for owner, value in zip(owners, before, strict=True):
        owner.fp32_precision = value


@pytest.mark.skipif(not hasattr(torch.backends.cudnn, "conv"), reason="torch has no newer setting of TF32")
@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("scope", ["all", "cudnn", "conv", "older"])
@pytest.mark.parametrize("allowed", [False, True])
def test_a_step_has_its_own_tf32_whatever_the_program_has_set(host, scope, allowed, exact):
    host.older(allowed) if scope == "older" else host.newer(scope, "tf32" if allowed else "ieee")
    cudnn = torch.backends.cudnn
    before = cudnn.conv.fp32_precision, cudnn.benchmark
    for _ in range(2):
        with Cuda(torch.device("cuda")).settings(exact=exact):
            assert (cudnn.conv.fp32_precision, cudnn.benchmark) == ("ieee" if exact else "tf32", True)
        with Cuda(torch.device("cuda"), measures=False).settings(exact=exact):
            assert (cudnn.benchmark, cudnn.deterministic) == (False, True)
        assert (cudnn.benchmark, cudnn.deterministic) == (before[1], False)
        assert (cudnn.conv.fp32_precision, cudnn.benchmark) == before
    if scope == "older":
        assert cudnn.allow_tf32 is allowed


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
