"""`make gpu` without a GPU, and its parts on a device that is none."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from benchmarks import gpu
from benchmarks.__main__ import app
from benchmarks.gpu import Card, Verdict, prove, report
from tests.model.engine.fake_cuda import FakeCuda, cuda
from tests.model.engine.tracks import lively

__all__ = ["cuda"]


@pytest.fixture
def card(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> Card:
    """A small proof on the fake device, with a network that costs little."""
    monkeypatch.setattr(gpu, "lively_model", lambda backbone, variant: lively(variant, variant == "three"))

    @contextlib.contextmanager
    def limited(more: int) -> Iterator[None]:
        cuda.memory.budget = cuda.memory.used + more
        yield
        cuda.memory.budget = float("inf")

    return Card(
        torch_device="cpu",
        limit_memory=limited,
        spare_bytes=64 << 20,
        backbones=("resnet18",),
        precisions=("fp32", "bf16"),
        batch_sizes=(1, 4),
        seconds=0.3,
        failures=(),
    )


def test_without_a_gpu_it_says_so_in_one_sentence() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    ran = CliRunner().invoke(app, ["gpu"])
    assert ran.exit_code == 2
    assert ran.stderr.startswith("there is no GPU here that torch can use: torch ") and ran.stderr.count("\n") == 1


@pytest.mark.usefixtures("one_runner")
def test_every_part_is_well_on_a_device_that_works(card: Card, cuda: FakeCuda) -> None:
    verdicts = prove(card)
    assert [(verdict.part, verdict.detail) for verdict in verdicts if not verdict.well] == []
    (ways,) = (verdict.detail for verdict in verdicts if verdict.part.startswith("the ways"))
    assert re.search(r"fp32: plain \d+\.\d\d ms, 0; recorded \d+\.\d\d ms, \S+\. bf16: plain ", ways)
    assert len(verdicts) == 6 and cuda.released, "memory did run out"


@pytest.mark.usefixtures("one_runner")
def test_a_device_that_computes_wrongly_is_red(
    card: Card, cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(type(cuda)):  # type: ignore[misc]
        """Its copies to the host are each a little different."""

        def fetch(self, tensors):  # type: ignore[no-untyped-def]
            return super().fetch([tensor + torch.rand(()) * 0.1 for tensor in tensors])

    monkeypatch.setattr("model.engine.stepper.open_device", lambda *_, **__: Broken())
    monkeypatch.setattr(gpu, "deviation", lambda *_: 0.5)

    def refused(more: int) -> Any:
        raise RuntimeError("CUDA error: unknown error")

    verdicts = prove(replace(card, limit_memory=refused, precisions=("fp32",)))
    assert [verdict.well for verdict in verdicts] == [False, False, False, True, True, True]
    assert "RuntimeError: CUDA error: unknown error" in verdicts[2].detail


def test_the_page_shows_what_is_red() -> None:
    page = report("NVIDIA H100", "a machine", [Verdict("one", True, "fine", 1.0), Verdict("two", False, "not", 2.0)])
    assert page.startswith("# NVIDIA H100\n\na machine")
    assert "| one | green | fine | 1 s |" in page and "| two | **red** | not | 2 s |" in page
