"""What each stage of a track-frame costs on one core or on the device, beside what it cannot go below.

    python -m benchmarks stages
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import torch
import typer

from benchmarks import decoding
from benchmarks.ceiling import arithmetic_peak, copy_rate
from benchmarks.hardware import describe
from benchmarks.networks import forward_pass, random_model
from benchmarks.tables import markdown
from model.engine.stepper import StepInput, Stepper
from model.masks.finish import finish
from model.network import SiamMask
from model.network.inference import resolve_precision
from model.network.onednn import FusedSiamMask, Int8SiamMask
from model.tracker import PRESETS, TrackState
from model.tracker.crop import SEARCH_SIZE, crop, search_window
from pipeline.output.schema import MaskRow
from pipeline.output.spool import Spool

_SIZES = {"480p": (854, 480), "1080p": (1920, 1080), "4K": (3840, 2160)}
_OBJECT = 160.0  # pixels of the object's box, the same in every frame size


@dataclass(frozen=True, slots=True)
class _Answer:
    """A tracker's answer with a disc for a mask."""

    box: np.ndarray
    mask_probability: np.ndarray
    window: tuple[float, float, float, float]
    threshold: float = 0.5


def post_process_ms(width: int, height: int, seconds: float) -> float:
    """Paste, contour, `mbr` and run lengths of one mask, of the same pixels whatever the frame's size."""
    return _ms(_finishing(width, height), seconds)


def post_process_gain(seconds: float) -> float:
    """How many times the masks of one thread two threads finish at once: Python's lock is let go of in between."""
    work = _finishing(*_SIZES["480p"])

    def masks(_: int) -> int:
        done, until = 0, time.perf_counter() + seconds
        while time.perf_counter() < until:
            work()
            done += 1
        return done

    one = masks(0)
    with ThreadPoolExecutor(2) as pool:
        return sum(pool.map(masks, range(2))) / one


def _finishing(width: int, height: int) -> Callable[[], object]:
    """What finishes a bumpy disc."""
    grid = np.mgrid[-63:64, -63:64].astype(np.float32)
    bumpy = 42 + 4 * np.sin(6 * np.arctan2(grid[0], grid[1]))
    mask = 1 / (1 + np.exp((np.hypot(*grid) - bumpy) / 2))
    x, y = width / 2 - _OBJECT, height / 2 - _OBJECT
    answer = _Answer(np.array([x, y, _OBJECT, _OBJECT]), mask.astype(np.float32), (x, y, 2 * _OBJECT, 2 * _OBJECT))
    return lambda: finish(answer, height, width, "mbr")


def crop_ms(width: int, height: int, seconds: float) -> tuple[float, float]:
    """One search window out of a frame, and the same number of pixels read and written by a plain resize."""
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (height, width, 3), np.uint8)
    window = search_window(width / 2, height / 2, _OBJECT, _OBJECT)
    fill = np.array([100.0, 100.0, 100.0])
    ours = _ms(lambda: crop(frame[..., ::-1], width / 2, height / 2, window.side, SEARCH_SIZE, fill), seconds)
    patch = rng.integers(0, 256, (window.side, window.side, 3), np.uint8)
    return ours, _ms(lambda: cv2.resize(patch, (SEARCH_SIZE, SEARCH_SIZE)), seconds)


class _Ready:
    """In place of a network: the answers it gave once, again and again."""

    def __init__(self, network: SiamMask | FusedSiamMask | Int8SiamMask) -> None:
        self.config = network.config
        self._network, self._answers = network, dict[str, Any]()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def answer(*given: Any) -> Any:
            if name not in self._answers:
                self._answers[name] = getattr(self._network, name)(*given)
            return self._answers[name]

        return answer


def step_ms(batch: int, backbone: str, precision: Any, device: str, seconds: float) -> tuple[float, float, float]:
    """A track's share of a batch's forward pass and of the rest of its step, and the pass's floating-point work."""
    model = random_model(backbone)  # type: ignore[arg-type]
    stepper = Stepper(model, PRESETS["vot"], device=device, precision=precision)
    forward, flops = forward_pass(model, batch=batch, device=device, precision=precision)
    rng = np.random.default_rng(0)
    search = rng.integers(0, 256, (SEARCH_SIZE, SEARCH_SIZE, 3), np.uint8)
    (kernels,) = stepper.templates([np.ascontiguousarray(search[:127, :127])])
    state = TrackState(400.0, 200.0, 100.0, 80.0)
    inputs = [StepInput(kernels, search, state, 0.8, (480, 854), hold=False)] * batch
    stepper._model = _Ready(stepper._model)  # type: ignore[assignment]
    whole_step = _ms(lambda: stepper.launch(inputs).result(), seconds)
    return _ms(forward, seconds) / batch, whole_step / batch, flops


def write_ms(rows: int) -> tuple[float, float]:
    """A row's share of spooling and assembling a part, and of writing the same sorted table with pyarrow alone."""
    grid = np.mgrid[-63:64, -63:64]
    mask = (np.hypot(*grid) < 42).astype(np.float32)
    answer = _Answer(np.array([300.0, 200.0, 160, 160]), mask, (300.0, 200.0, 320.0, 320.0))
    finished = finish(answer, 1080, 1920, "mbr")
    result = (finished.rle, finished.area, finished.rbox, finished.corners, finished.rbox_from_mask)
    frames = [MaskRow("0", i, i / 24, 0.9, 0.9, "tracked", answer.box, *result) for i in range(rows)]
    with tempfile.TemporaryDirectory() as folder:
        spool, part = Spool(Path(folder)), Path(folder) / "part.parquet"
        started = time.perf_counter()
        spool.add("clip", frames)
        spool.finish("clip")
        spool.assemble(["clip"], part)
        ours = time.perf_counter() - started
        table = pq.read_table(part)
        started = time.perf_counter()
        pq.write_table(table, Path(folder) / "plain.parquet", compression="zstd")
        return 1e3 * ours / rows, 1e3 * (time.perf_counter() - started) / rows


def main(
    backbone: Annotated[str, typer.Option(help="resnet18 or resnet50.")] = "resnet50",
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16.")] = "auto",
    batch: Annotated[int, typer.Option(help="Tracks stepped together.")] = 8,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
    threads: Annotated[int, typer.Option(help="CPU threads of the network.")] = 2,
    seconds: Annotated[float, typer.Option(help="Time given to each measurement.")] = 2.0,
) -> None:
    """Stages: ms of decode, crop, forward, update, post-process and write, beside their ceilings."""
    torch.set_num_threads(threads)
    cv2.setNumThreads(1)
    place = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    kind = resolve_precision(precision, place)
    peak = arithmetic_peak(place, kind)
    copied = copy_rate()
    print(
        f"{describe(place)}; {backbone}, {kind}, batch {batch}, {threads} threads; ceilings: {peak.flops / 1e9:,.0f} "
        f"GFLOP/s ({peak.by}), {copied / 1e9:.1f} GB/s copied by one thread\n"
    )
    rows: list[tuple[str, str, float, str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in ("480p", "1080p"):
            costs = decoding.decoding_costs(Path(folder), *_SIZES[name], repeats=6)
            for decoder, alone in (("pyav", "PyAV alone"), ("decord", "decord alone")):
                cost, peer = costs[f"ours, {decoder}"], costs[alone]
                rows.append((f"start decoding, {decoder}, {name}", "clip", cost.start, alone, peer.start))
                rows.append((f"decode to RGB, {decoder}, {name}", "frame", cost.frame, alone, peer.frame))
    for name in ("480p", "4K"):
        ours, limit = crop_ms(*_SIZES[name], seconds)
        rows.append((f"crop, {name}", "track-frame", ours, "resize of the window alone", limit))
    forward, update, flops = step_ms(batch, backbone, kind, place, seconds)
    rows.append(("forward", "track-frame", forward, "its arithmetic at the ceiling", 1e3 * flops / peak.flops))
    rows.append(("choose, update, copies", "track-frame", update, "5 % of the step (goal)", 0.05 * (forward + update)))
    for name, (width, height) in _SIZES.items():
        rows.append(
            (f"post-process, {name}", "track-frame", post_process_ms(width, height, seconds), "the goal", 0.15)
        )
    ours, limit = write_ms(20_000)
    rows.append(("write (spool, sort, Parquet)", "track-frame", ours, "pyarrow, sorted table", limit))
    print(
        markdown(
            ("stage", "per", "ms", "ceiling", "ceiling, ms", "ceiling / ms"),
            [(a, b, f"{c:.3f}", d, f"{e:.3f}", f"{e / c:.0%}" if c else "") for a, b, c, d, e in rows],
        )
    )
    print(f"\npost-process: two threads finish {post_process_gain(seconds):.2f} times the masks of one")


def _ms(function: Callable[[], object], seconds: float, spans: int = 10) -> float:
    """Milliseconds a call: the median of some spans."""
    function()
    seconds_a_call = []
    for _ in range(spans):
        started, calls = time.perf_counter(), 0
        while not calls or time.perf_counter() - started < seconds / spans:
            function()
            calls += 1
        seconds_a_call.append((time.perf_counter() - started) / calls)
    return 1e3 * float(np.median(seconds_a_call))
