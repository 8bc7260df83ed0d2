"""The parts of a proof that a GPU can be trusted: each says whether all is well, and what was seen."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.ceiling import Peak, arithmetic_peak
from benchmarks.gpu_outputs import deviation, lively_model, tolerance
from benchmarks.networks import forward_rate
from model.engine import Engine, TrackOutput
from model.engine.stepper import Flight, StepInput, Stepper
from model.engine.trial_book import TrialBook
from model.engine.ways import WAYS, Ways, fastest_stepper
from model.network import SiamMask
from model.network.inference import Precision
from model.tracker import PRESETS

BATCH_SIZES = (1, 2, 4, 8, 16, 24, 32, 48, 64)
WITHIN_S = 240
FAILURES = {"assert": 3, "silence": 4}
"""What `benchmarks.gpu_failures` breaks, and the exit status with which it says that the engine noticed."""
COMPILED: Ways = {"compiled": lambda stepper: torch.compile(stepper.step, dynamic=False)}
"""What an actor does not try by itself, since it would compile for minutes before its first frame."""
LEAST_OVERLAP = 0.9
ROOT = Path(__file__).resolve().parents[1]
_CALLERS = 16

Answer = tuple[bool, str]


@contextlib.contextmanager
def limited_memory(more: int) -> Iterator[None]:
    """Hold this process to so many more bytes on the GPU than it has now."""
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(min(1.0, (torch.cuda.memory_reserved() + more) / total))
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def moment() -> Any:
    """A moment in the work of the GPU, which the time to another one can be asked of."""
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


@dataclass(frozen=True, slots=True)
class Card:
    """What is proved, and how much of it.

    Attributes:
        device: for engines.
        torch_device: for the network alone.
        limit_memory: as `limited_memory`.
        moment: as `moment`.
        ceiling: the best rate of plain arithmetic, of a device and a precision.
        spare_bytes: so much is left to a batch of 32 tracks, which needs more.
        backbones, variants, precisions, batch_sizes: what is compared with the CPU.
        seconds: for each measurement of speed.
        ways: tried in every precision.
        last_ways: tried in the last one too.
        tests: arguments of pytest for the tests that need a GPU.
        demo: the script that runs the whole job on a drawn corpus.
    """

    device: str = "cuda"
    torch_device: str = "cuda"
    limit_memory: Callable[[int], contextlib.AbstractContextManager[None]] = limited_memory
    moment: Callable[[], Any] = moment
    ceiling: Callable[[str, Precision], Peak] = arithmetic_peak
    spare_bytes: int = 256 << 20
    backbones: tuple[str, ...] = ("resnet18", "resnet50")
    variants: tuple[str, ...] = ("three", "two")
    precisions: tuple[Precision, ...] = ("fp32", "fp16", "bf16")
    batch_sizes: tuple[int, ...] = BATCH_SIZES
    seconds: float = 2.0
    failures: tuple[str, ...] = tuple(FAILURES)
    ways: Ways = field(default_factory=lambda: WAYS)
    last_ways: Ways = field(default_factory=lambda: COMPILED)
    tests: tuple[str, ...] = ("-m", "gpu", "tests/model")
    demo: Path = ROOT / "jobs" / "demo.py"


def agreement(card: Card) -> Answer:
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


def tests(card: Card) -> Answer:
    """the tests that need a GPU, with the published tracker's own tracks among them"""
    if importlib.util.find_spec("pytest") is None:
        return True, "not tried: there is no pytest here"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *card.tests]
    done = subprocess.run(command, capture_output=True, text=True, timeout=2 * WITHIN_S)
    return done.returncode == 0, _last_line(done)


def company(card: Card) -> Answer:
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


def memory(card: Card) -> Answer:
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


def failures(card: Card) -> Answer:
    """a device-side assert and a kernel that does not end, each in a process of its own"""
    details, well = [], True
    for name in card.failures:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.gpu_failures", name], capture_output=True, text=True, timeout=WITHIN_S
        )
        well &= done.returncode == FAILURES[name]
        details.append(f"{name}: {_last_line(done)}")
    return well, "; ".join(details) or "none tried"


def ways(card: Card) -> Answer:
    """the ways to compute a step: milliseconds a step, how far it is from float32"""
    model, details = lively_model("resnet18", "three"), []
    for precision in card.precisions:
        stepper = _stepper(model, card, precision)
        exact = functools.partial(_stepper, model, card, "fp32")
        tried = {**card.ways, **(card.last_ways if precision == card.precisions[-1] else {})}
        _, trials = fastest_stepper(
            stepper, exact, key="", ways=tried, seconds=card.seconds, patience_s=WITHIN_S, book=TrialBook(None)
        )
        told = (
            f"{trial.way} {trial.fault or f'{1e3 * (trial.seconds or 0):.2f} ms, {trial.deviation:.2g}'}"
            for trial in trials
        )
        details.append(f"{precision}: {'; '.join(told)}")
    return True, ". ".join(details)


def speed(card: Card) -> Answer:
    """track-frames a second: the forward pass alone, and the engine with 16 callers"""
    model, count, precision = lively_model("resnet18", "three"), card.batch_sizes[-1], card.precisions[-1]
    peak = card.ceiling(card.torch_device, precision).flops
    forward = forward_rate(model, batch=count, device=card.torch_device, precision=precision, seconds=card.seconds)
    with Engine(model, PRESETS["vot"], device=card.device, max_tracks=count, precision=precision) as engine:
        tracks = [future.result()[0] for future in [engine.init(_frames()[0], box) for box in _boxes(count)]]
        spans = _watch(engine, card.moment)
        rate = _called(engine, tracks, card.seconds)
        batch = engine.stats().mean_batch
    busy = sum(began.elapsed_time(ended) for began, ended in spans) / 1e3 / card.seconds
    return True, (
        f"{precision}, {count} tracks: {forward.windows_per_s:,.0f}, {forward.rate / peak:.0%} of the ceiling of "
        f"{peak / 1e12:.3g} TFLOP/s; {rate:,.0f}, the device busy {busy:.0%} of the time, mean batch {batch:.1f}"
    )


def job(card: Card) -> Answer:
    """a whole job: where it ran, how far its masks cover the drawn truth"""
    if missing := [name for name in ("ray", "decord", "duckdb") if importlib.util.find_spec(name) is None]:
        return True, f"not tried: there is no {', '.join(missing)} here"
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "demo"
        command = [sys.executable, str(card.demo), "--folder", str(output)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=2 * WITHIN_S)
        configs = [json.loads(path.read_text()) for path in output.glob("run/_runs/*/config.json")]
    device = configs[0]["placement"]["device"] if configs else "nowhere"
    overlap = re.search(r"mean overlap of the masks with the drawn truth: ([\d.]+)", done.stdout)
    if done.returncode or overlap is None:
        return False, f"exit status {done.returncode}: {_last_line(done)}"
    return device == card.device and float(overlap[1]) >= LEAST_OVERLAP, f"on {device}, mean overlap {overlap[1]}"


PARTS: tuple[Callable[[Card], Answer], ...] = (agreement, tests, company, memory, failures, ways, speed, job)


def _called(engine: Engine, tracks: Sequence[Any], seconds: float) -> float:
    """Track-frames a second of an engine with many callers, who all use the same frame."""
    frame, until = _frames()[1], time.perf_counter() + seconds

    def call(part: Sequence[Any]) -> int:
        steps = 0
        while time.perf_counter() < until:
            for future in [engine.step(track, frame) for track in part]:
                future.result(timeout=WITHIN_S)
            steps += len(part)
        return steps

    callers = [part for i in range(_CALLERS) if (part := tracks[i::_CALLERS])]
    with ThreadPoolExecutor(len(callers)) as pool:
        return sum(pool.map(call, callers)) / seconds


def _watch(engine: Engine, moment: Callable[[], Any]) -> list[tuple[Any, Any]]:
    """From now on, take down when the device begins and ends each of an engine's batches."""
    spans: list[tuple[Any, Any]] = []
    stepper = engine._stepper
    launch = stepper.launch

    def watched(inputs: Sequence[StepInput]) -> Flight:
        began = moment()
        flight = launch(inputs)
        spans.append((began, moment()))
        return flight

    stepper.launch = watched  # type: ignore[method-assign]
    return spans


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    said = (done.stdout.strip() or done.stderr.strip()).splitlines()
    return said[-1] if said else f"exit status {done.returncode}"


def _stepper(model: SiamMask, card: Card, precision: Precision) -> Stepper:
    return Stepper(model, PRESETS["vot"], device=card.device, precision=precision, batch_sizes=card.batch_sizes)


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
