"""`make gpu` without a GPU, and its parts on a device that is none."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from benchmarks import gpu_parts, hardware
from benchmarks.__main__ import app
from benchmarks.ceiling import Peak
from benchmarks.gpu import Verdict, prove, report
from benchmarks.gpu_parts import Card, job
from benchmarks.gpu_parts import tests as gpu_tests
from tests.model.engine.fake_cuda import FakeCuda, cuda
from tests.model.engine.tracks import lively
from tests.model.network.fake_cudnn import cudnn

__all__ = ["cuda", "cudnn"]


class Moment:
    """A moment by the clock."""

    def __init__(self) -> None:
        self.at = time.perf_counter()

    def elapsed_time(self, later: Moment) -> float:
        return 1e3 * (later.at - self.at)


@pytest.fixture
def card(cuda: FakeCuda, cudnn: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Card:
    """A small proof on the fake device, with a network that costs little, whose layers are plain as on a GPU."""
    monkeypatch.setattr(gpu_parts, "lively_model", lambda backbone, variant: lively(variant, variant == "three"))
    monkeypatch.setattr("model.network.inference.fuse", lambda network: network)

    @contextlib.contextmanager
    def limited(more: int) -> Iterator[None]:
        cuda.memory.budget = cuda.memory.used + more
        yield
        cuda.memory.budget = float("inf")

    return Card(
        torch_device="cpu",
        limit_memory=limited,
        moment=Moment,
        ceiling=lambda device, precision: Peak(1e11, "a guess"),
        spare_bytes=64 << 20,
        backbones=("resnet18",),
        precisions=("fp32",),
        batch_sizes=(1, 4),
        seconds=0.1,
        failures=(),
        last_ways={"other": lambda stepper: stepper.step},
        tests=("--version",),
        demo=script(tmp_path, "cuda", 0.93),
    )


def script(folder: Path, device: str, overlap: float) -> Path:
    """Stands in for the demo, whose own test runs it: writes where it ran, and prints an overlap."""
    path = folder / f"demo-{device}-{overlap}.py"
    path.write_text(
        "import json, pathlib, sys\n"
        "run = pathlib.Path(sys.argv[sys.argv.index('--folder') + 1], 'run', '_runs', 'r1')\n"
        "run.mkdir(parents=True)\n"
        f"(run / 'config.json').write_text(json.dumps({{'placement': {{'device': {device!r}}}}}))\n"
        f"print('\\nmean overlap of the masks with the drawn truth: {overlap}\\n')\n"
    )
    return path


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
    names = ("plain", "fused", "fused, recorded", "other", "recorded")
    assert re.fullmatch("fp32: " + "; ".join(rf"{name} \d+\.\d\d ms, [\d.e-]+" for name in names), ways)
    assert len(verdicts) == 8 and cuda.released, "memory did run out"
    speed, job = (verdict.detail for verdict in verdicts[-2:])
    assert re.search(r"of the ceiling of \S+ TFLOP/s; [\d,]+, the device busy \d+% of the time, mean batch \d", speed)
    assert job == "on cuda, mean overlap 0.93"


@pytest.mark.usefixtures("one_runner")
def test_a_device_that_computes_wrongly_is_red(
    card: Card, cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(type(cuda)):  # type: ignore[misc]
        """Its copies to the host are each a little different."""

        def fetch(self, tensors):  # type: ignore[no-untyped-def]
            return super().fetch([tensor + torch.rand(()) * 0.1 for tensor in tensors])

    monkeypatch.setattr("model.engine.stepper.open_device", lambda *_, **__: Broken())
    monkeypatch.setattr(gpu_parts, "deviation", lambda *_: 0.5)

    def refused(more: int) -> Any:
        raise RuntimeError("CUDA error: unknown error")

    verdicts = prove(replace(card, limit_memory=refused, precisions=("fp32",)))
    assert [verdict.well for verdict in verdicts] == [False, True, False, False, True, True, True, True]
    assert "RuntimeError: CUDA error: unknown error" in verdicts[3].detail


def test_the_page_shows_what_is_red() -> None:
    page = report("NVIDIA H100", "a machine", [Verdict("one", True, "fine", 1.0), Verdict("two", False, "not", 2.0)])
    assert page.startswith("# NVIDIA H100\n\na machine")
    assert "| one | green | fine | 1 s |" in page and "| two | **red** | not | 2 s |" in page


@pytest.mark.parametrize(
    ("device", "overlap", "well"), [("cuda", 0.93, True), ("cpu", 0.93, False), ("cuda", 0.5, False)]
)
def test_a_job_is_well_on_the_gpu_and_with_its_objects(tmp_path: Path, device: str, overlap: float, well: bool) -> None:
    assert job(Card(demo=script(tmp_path, device, overlap))) == (well, f"on {device}, mean overlap {overlap}")


def test_a_job_or_tests_that_fail_say_how(tmp_path: Path) -> None:
    broken = tmp_path / "demo.py"
    broken.write_text("raise SystemExit('no room')")
    assert job(Card(demo=broken)) == (False, "exit status 1: no room")
    well, detail = gpu_tests(Card(tests=(str(tmp_path / "gone"),)))
    assert not well and "no tests ran" in detail


def test_driver_and_clocks_are_said_where_they_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert hardware.gpu_state() == "nvidia-smi says nothing of driver and clocks"
    answer = tmp_path / "nvidia-smi"
    answer.write_text("#!/bin/sh\necho '580.65.06, 1755 MHz, 1980 MHz, 401.20 W, 700.00 W, 41, 143771 MiB'\n")
    answer.chmod(0o755)
    assert hardware.gpu_state() == "driver 580.65.06, 1755 MHz of 1980 MHz, 401.20 W of 700.00 W, 41 C, 143771 MiB"
