"""How a GPU is asked for copies, for answers and for its settings; what it says back is for a machine that has one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
import torch

from model.engine import device
from model.engine.device import Cuda


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
