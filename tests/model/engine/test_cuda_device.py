"""How a GPU is asked for copies, for answers and for its settings; what it says back is for a machine that has one."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from model.engine import device
from model.engine.device import Cuda


class Diary:
    """What a GPU is asked, in order: streams, an event and a graph that write down what is done with them."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.current = [Stream("work", self)]

    def write(self, line: str) -> None:
        self.said.append(f"{line} on {self.current[-1].name}")

    @contextlib.contextmanager
    def entered(self, stream: Stream) -> Iterator[None]:
        self.current.append(stream)
        yield
        self.current.pop()

    @contextlib.contextmanager
    def recorded(self, graph: Graph, **options: object) -> Iterator[None]:
        self.said.append(f"recording {options}")
        yield
        self.said.append("recorded")


class Stream:
    def __init__(self, name: str, diary: Diary) -> None:
        self.name, self.diary = name, diary

    def wait_stream(self, other: Stream) -> None:
        self.diary.said.append(f"{self.name} waits for {other.name}")


class Event:
    def __init__(self, diary: Diary, *, blocking: bool = False) -> None:
        self.diary, self.blocking = diary, blocking

    def record(self, stream: Stream) -> None:
        self.diary.said.append(f"arrival after {stream.name}, {'asleep' if self.blocking else 'awake'}")


class Graph:
    def replay(self) -> None: ...


class Pixels:
    """A tensor that writes down where it is copied, and who uses the copy."""

    shape, dtype = (1,), torch.uint8

    def __init__(self, diary: Diary) -> None:
        self.diary = diary

    def to(self, device: torch.device, *, non_blocking: bool = False) -> Pixels:
        self.diary.write(f"sent {'without' if non_blocking else 'after'} a wait")
        return self

    def copy_(self, tensor: object, *, non_blocking: bool = False) -> None:
        self.diary.write(f"fetched {'without' if non_blocking else 'after'} a wait")

    def record_stream(self, stream: Stream) -> None:
        self.diary.said.append(f"used on {stream.name}")


@pytest.fixture
def diary(monkeypatch: pytest.MonkeyPatch) -> Diary:
    diary = Diary()
    monkeypatch.setattr(device, "_copies", lambda _: Stream("copies", diary))
    monkeypatch.setattr(device, "_graph_memory", lambda _: "one memory")
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: diary.current[-1])
    monkeypatch.setattr(torch.cuda, "stream", diary.entered)
    monkeypatch.setattr(torch.cuda, "Stream", lambda _: Stream("beside", diary))
    monkeypatch.setattr(torch.cuda, "Event", functools.partial(Event, diary))
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", diary.recorded)
    return diary


GPU = Cuda(torch.device("cuda"))


def test_what_goes_in_is_copied_beside_the_work_that_goes_on_and_before_its_own(diary):
    GPU.send(Pixels(diary))
    assert diary.said == ["sent without a wait on copies", "work waits for copies", "used on work"]


def test_what_comes_out_is_copied_after_the_work_and_who_waits_for_it_sleeps(diary, monkeypatch):
    monkeypatch.setattr(Cuda, "host", lambda *_: Pixels(diary))
    there: Any = Pixels(diary)
    GPU.fetch([there])
    assert diary.said == ["fetched without a wait on work", "arrival after work, asleep"]


def test_work_is_done_beside_before_it_is_recorded_and_both_streams_wait_for_each_other(diary):
    _, again = GPU.record(lambda: diary.write("done") or [])
    assert diary.said == [
        "beside waits for work",
        *["done on beside"] * 3,
        "work waits for beside",
        "recording {'pool': 'one memory', 'capture_error_mode': 'thread_local'}",
        "done on work",
        "recorded",
    ]
    assert again.__func__ is Graph.replay


def test_memory_to_copy_from_is_page_locked_and_what_is_kept_is_given_back(monkeypatch):
    asked: list[object] = []
    monkeypatch.setattr(torch, "empty", lambda *shape, **options: asked.append(options["pin_memory"]))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: asked.append("emptied"))
    GPU.host((2, 3), torch.uint8)
    GPU.release_memory()
    assert asked == [True, "emptied"]


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
        with GPU.settings(exact=exact):
            assert (cudnn.conv.fp32_precision, cudnn.benchmark) == ("ieee" if exact else "tf32", True)
        with Cuda(torch.device("cuda"), measures=False).settings(exact=exact):
            assert (cudnn.benchmark, cudnn.deterministic) == (False, True)
        assert (cudnn.benchmark, cudnn.deterministic) == (before[1], False)
        assert (cudnn.conv.fp32_precision, cudnn.benchmark) == before
    if scope == "older":
        assert cudnn.allow_tf32 is allowed
