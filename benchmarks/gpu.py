"""Proof that a GPU can be trusted with the tracker, and how fast it is: one table, green or red.

    python -m benchmarks gpu

It writes `docs/gpu/<card>.md`. Exit status 0: all is well; 1: something is not; 2: there is no GPU that torch can use.
"""

from __future__ import annotations

import contextlib
import functools
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from benchmarks.gpu_outputs import deviation, lively_model, tolerance
from benchmarks.hardware import describe
from benchmarks.networks import forward_rate
from benchmarks.tables import markdown
from model.engine import Engine, TrackOutput
from model.engine.stepper import Stepper
from model.engine.trial_book import TrialBook
from model.engine.ways import fastest_stepper
from model.network import SiamMask
from model.network.cuda import cuda_fault
from model.network.inference import Precision
from model.tracker import PRESETS

OUT = Path(__file__).resolve().parents[1] / "docs" / "gpu"
BATCH_SIZES = (1, 2, 4, 8, 16, 24, 32, 48, 64)
WITHIN_S = 240
FAILURES = {"assert": 3, "silence": 4}
"""What `benchmarks.gpu_failures` breaks, and the exit status with which it says that the engine noticed."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one part ended: a row of the table."""

    part: str
    well: bool
    detail: str
    seconds: float


@contextlib.contextmanager
def _limited(more: int) -> Iterator[None]:
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(min(1.0, (torch.cuda.memory_reserved() + more) / total))
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


@dataclass(frozen=True, slots=True)
class Card:
    """What is proved, and how much of it.

    Attributes:
        device: for engines.
        torch_device: for the network alone.
        limit_memory: holds the process to this much more memory than it has now, in bytes, inside a block.
        spare_bytes: so much is left to a batch of 32 tracks, which needs more.
        backbones, variants, precisions, batch_sizes: what is compared with the CPU.
        seconds: for each measurement of speed.
    """

    device: str = "cuda"
    torch_device: str = "cuda"
    limit_memory: Callable[[int], contextlib.AbstractContextManager[None]] = _limited
    spare_bytes: int = 256 << 20
    backbones: tuple[str, ...] = ("resnet18", "resnet50")
    variants: tuple[str, ...] = ("three", "two")
    precisions: tuple[Precision, ...] = ("fp32", "bf16", "fp16")
    batch_sizes: tuple[int, ...] = BATCH_SIZES
    seconds: float = 2.0
    failures: tuple[str, ...] = tuple(FAILURES)


def prove(card: Card) -> list[Verdict]:
    """Run every part; one that raises is not well."""
    verdicts = []
    for part in (_agreement, _company, _memory, _failures, _ways, _speed):
        began = time.perf_counter()
        try:
            well, detail = part(card)
        except Exception as error:
            well, detail = False, f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
        verdicts.append(Verdict(part.__doc__ or "", well, detail, time.perf_counter() - began))
    return verdicts


def _agreement(card: Card) -> tuple[bool, str]:
    """scores, boxes and masks as the CPU computes them in fp32"""
    worst, well = dict.fromkeys(card.precisions, 0.0), True
    for backbone in card.backbones:
        for variant in card.variants:
            model = lively_model(backbone, variant)
            for precision in card.precisions:
                made = deviation(model, card.torch_device, precision, card.batch_sizes)
                worst[precision] = max(worst[precision], made)
                well &= made <= tolerance(model, precision)
    detail = ", ".join(f"{precision} {value:.2g}" for precision, value in worst.items())
    cases = len(card.backbones) * len(card.variants) * len(card.batch_sizes)
    return well, f"root mean square of the difference, the worst of {cases} cases each: {detail}"


def _company(card: Card) -> tuple[bool, str]:
    """the same track twice, and among others"""
    model, frames = lively_model("resnet18", "three"), _frames()
    alone, again = (_tracked(model, card, frames, 1)[0] for _ in range(2))
    among = _tracked(model, card, frames, 8)[0]
    same = all(
        np.array_equal(one.box, other.box) and np.array_equal(one.mask_probability, other.mask_probability)
        for one, other in zip(alone, again, strict=True)
    )
    apart = max(abs(one.score - other.score) for one, other in zip(alone, among, strict=True))
    return same and apart < 1e-3, f"twice {'equal' if same else 'NOT equal'}; among 8 others' scores {apart:.2g} apart"


def _memory(card: Card) -> tuple[bool, str]:
    """more tracks than memory holds at once"""
    model, frames = lively_model("resnet18", "three"), _frames()
    with Engine(model, PRESETS["vot"], device=card.device, max_tracks=32) as engine:
        tracks = [future.result()[0] for future in [engine.init(frames[0], box) for box in _boxes(32)]]
        with card.limit_memory(card.spare_bytes):
            futures = [engine.step(track, frames[1]) for track in tracks]
            failed = sum(future.exception(timeout=WITHIN_S) is not None for future in futures)
        after = sum(future.exception() is not None for future in [engine.step(track, frames[2]) for track in tracks])
    spare = card.spare_bytes >> 20
    return not failed and not after, f"{failed} of 32 failed with {spare} MiB to spare, {after} afterwards"


def _failures(card: Card) -> tuple[bool, str]:
    """a device-side assert and a kernel that does not end, each in a process of its own"""
    details, well = [], True
    for name in card.failures:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.gpu_failures", name], capture_output=True, text=True, timeout=WITHIN_S
        )
        noticed = done.returncode == FAILURES[name]
        well &= noticed
        said = (done.stdout.strip() or done.stderr.strip()).splitlines()
        details.append(f"{name}: {said[-1] if said else f'exit status {done.returncode}'}")
    return well, "; ".join(details) or "none tried"


def _ways(card: Card) -> tuple[bool, str]:
    """the ways to compute a step: milliseconds a step, how far it is from float32"""
    model, details = lively_model("resnet18", "three"), []
    for precision in card.precisions:
        stepper = _stepper(model, card, precision)
        exact = functools.partial(_stepper, model, card, "fp32")
        _, trials = fastest_stepper(stepper, exact, key="", seconds=card.seconds, book=TrialBook(None))
        told = (
            f"{trial.way} {trial.fault or f'{1e3 * (trial.seconds or 0):.2f} ms, {trial.deviation:.2g}'}"
            for trial in trials
        )
        details.append(f"{precision}: {'; '.join(told)}")
    return True, ". ".join(details)


def _stepper(model: SiamMask, card: Card, precision: Precision) -> Stepper:
    return Stepper(model, PRESETS["vot"], device=card.device, precision=precision, batch_sizes=card.batch_sizes)


def _speed(card: Card) -> tuple[bool, str]:
    """track-frames a second: the forward pass alone, and the engine with 16 callers"""
    model, frames, count = lively_model("resnet18", "three"), _frames(), card.batch_sizes[-1]
    options = {"device": card.torch_device, "precision": card.precisions[-1], "seconds": card.seconds}
    forward = forward_rate(model, batch=count, **options).windows_per_s  # type: ignore[arg-type]
    with Engine(model, PRESETS["vot"], device=card.device, max_tracks=count, precision=card.precisions[-1]) as engine:
        tracks = [future.result()[0] for future in [engine.init(frames[0], box) for box in _boxes(count)]]
        until = time.perf_counter() + card.seconds

        def call(part: list) -> int:
            steps = 0
            while time.perf_counter() < until:
                for future in [engine.step(track, frames[1]) for track in part]:
                    future.result(timeout=WITHIN_S)
                steps += len(part)
            return steps

        callers = [part for i in range(16) if (part := tracks[i::16])]
        with ThreadPoolExecutor(len(callers)) as pool:
            rate = sum(pool.map(call, callers)) / card.seconds
        batch = engine.stats().mean_batch
    return True, f"{card.precisions[-1]}, {count} tracks: {forward:,.0f} and {rate:,.0f} (mean batch {batch:.1f})"


def _tracked(model: SiamMask, card: Card, frames: list[np.ndarray], count: int) -> list[list[TrackOutput]]:
    """The outputs of so many tracks over the frames, the first of them the same whatever the count."""
    with Engine(model, PRESETS["vot"], device=card.device, max_tracks=count) as engine:
        tracks = [future.result()[0] for future in [engine.init(frames[0], box) for box in _boxes(count)]]
        paths: list[list[TrackOutput]] = [[] for _ in tracks]
        for frame in frames[1:]:
            for path, future in zip(paths, [engine.step(track, frame) for track in tracks], strict=True):
                path.append(future.result(timeout=WITHIN_S))
        return paths


def _frames() -> list[np.ndarray]:
    """Three frames of noise that drifts, uint8 [240, 320, 3]."""
    noise = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8).repeat(10, 0).repeat(10, 1)
    return [np.ascontiguousarray(noise[5 * i : 240 + 5 * i, 5 * i : 320 + 5 * i]) for i in range(3)]


def _boxes(count: int) -> list[tuple[int, int, int, int]]:
    return [(30 + 17 * (i % 12), 20 + 11 * (i % 13), 40 + i % 5, 50 - i % 7) for i in range(count)]


def report(card_name: str, machine: str, verdicts: list[Verdict]) -> str:
    """The page on a card, in Markdown."""
    rows = [
        (verdict.part, "green" if verdict.well else "**red**", verdict.detail, f"{verdict.seconds:.0f} s")
        for verdict in verdicts
    ]
    return f"# {card_name}\n\n{machine}; `make gpu`\n\n{markdown(('part', '', 'what came of it', 'took'), rows)}\n"


def main(
    out: Annotated[Path, typer.Option(help="Folder of the page on the card.")] = OUT,
) -> None:
    """GPU: agreement with the CPU, memory, failures and speed; green or red, and a page on the card."""
    fault = cuda_fault()
    if fault is not None:
        print(f"there is no GPU here that torch can use: {fault}", file=sys.stderr)
        raise typer.Exit(2)
    name = torch.cuda.get_device_name()
    verdicts = prove(Card())
    page = report(name, describe("cuda"), verdicts)
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-')}.md"
    path.write_text(page)
    print(f"{page}\n{path}")
    raise typer.Exit(0 if all(verdict.well for verdict in verdicts) else 1)
