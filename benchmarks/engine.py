"""Track-frames a second out of the engine, beside the forward pass alone and the machine's own arithmetic.

    python -m benchmarks engine
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Annotated

import numpy as np
import torch
import typer

from benchmarks.ceiling import arithmetic_peak
from benchmarks.hardware import describe
from benchmarks.networks import backbone_rate, forward_rate, random_model
from benchmarks.tables import markdown
from model.engine import Engine, TrackOutput
from model.network import SiamMask
from model.network.inference import Precision, resolve_precision
from model.tracker import PRESETS
from pipeline.demo.scenes import SCENES, draw


def engine_rate(
    model: SiamMask,
    frames: list[np.ndarray],
    *,
    tracks: int,
    device: str,
    precision: Precision,
    compiled: bool = False,
) -> float:
    """Track-frames a second: every track is stepped once on each frame, crops included, rows of the tables not.

    Args:
        model: the network.
        frames: uint8 [H, W, 3] BGR, one size; the first two warm the engine up.
        tracks: tracks alive, in one batch on a GPU, shared by the engine's lanes on a CPU.
        compiled: whether the engine compiles its step.

    For a GPU crops are cut in up to 16 threads, as in an actor; on a CPU, whose cores the network needs, in one.
    """
    height, width = frames[0].shape[:2]
    boxes = np.random.default_rng(0).uniform((0.1, 0.1), (0.7, 0.7), (tracks, 2)) * (width, height)
    options = {"device": device, "precision": precision, "max_tracks": tracks, "compiled": compiled}
    callers = 1 if device == "cpu" else min(16, tracks)
    with Engine(model, PRESETS["vot"], **options) as engine, ThreadPoolExecutor(callers) as pool:  # type: ignore[arg-type]
        starts = [engine.init(frames[0], (x, y, width / 6, height / 6)) for x, y in boxes]
        alive = [start.result()[0] for start in starts]

        def step(frame: np.ndarray, count: int = tracks) -> list[TrackOutput]:
            chosen = alive[:count]
            cut: Iterable[Future[TrackOutput]] = map(partial(engine.step, frame=frame), chosen)
            if callers > 1:
                cut = pool.map(partial(engine.step, frame=frame), chosen)
            return [future.result() for future in list(cut)]

        for count in range(1, tracks + 1) if compiled else ():  # or a batch size is compiled while time is taken
            step(frames[0], count)
        for frame in frames[:2]:
            step(frame)
        started = time.perf_counter()
        for frame in frames[2:]:
            step(frame)
        return tracks * (len(frames) - 2) / (time.perf_counter() - started)


def main(
    tracks: Annotated[str, typer.Option(help="Numbers of tracks stepped together.")] = "1,2,4,8,16",
    backbones: Annotated[str, typer.Option(help="resnet18, resnet50 or both.")] = "resnet18,resnet50",
    precisions: Annotated[str, typer.Option(help="auto, fp32, bf16, fp16; several with commas.")] = "fp32,bf16",
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
    threads: Annotated[int, typer.Option(help="CPU threads of the network.")] = 2,
    seconds: Annotated[float, typer.Option(help="Time given to each forward measurement.")] = 3.0,
    compile: Annotated[bool, typer.Option(help="Measure the engine once more with a compiled step.")] = False,
    frames: Annotated[int, typer.Option(help="Frames of 640x360 that every track is stepped through.")] = 30,
) -> None:
    """Engine: track-frames/s against batch, backbone and precision, and the share of the machine's own rate."""
    torch.set_num_threads(threads)
    place = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    pictures = [frame.rgb[..., ::-1] for frame in draw(SCENES[1])]
    pictures = [pictures[i % len(pictures)] for i in range(frames + 2)]
    print(f"{describe(place)}; {threads} threads\n")
    rows = []
    for asked in precisions.split(","):
        precision = resolve_precision(asked, place)
        peak = arithmetic_peak(place, precision)
        print(f"{precision}: ceiling {peak.flops / 1e9:,.0f} GFLOP/s ({peak.by})\n")
        for backbone in backbones.split(","):
            model = random_model(backbone)  # type: ignore[arg-type]
            for count in map(int, tracks.split(",")):
                options = {"batch": count, "device": place, "precision": precision, "seconds": seconds}
                inside = backbone_rate(model, **options)  # type: ignore[arg-type]
                whole = forward_rate(model, **options)  # type: ignore[arg-type]
                for compiled in (False, True) if compile else (False,):
                    rate = engine_rate(
                        model, pictures, tracks=count, device=place, precision=precision, compiled=compiled
                    )
                    shares = (inside.rate / peak.flops, rate * whole.flops / peak.flops, rate / whole.windows_per_s)
                    name = f"{backbone}, compiled" if compiled else backbone
                    rows.append(
                        (name, precision, count, f"{rate:.1f}", f"{whole.windows_per_s:.1f}")
                        + tuple(f"{share:.0%}" for share in shares)
                    )
    columns = (
        "backbone", "precision", "tracks", "engine, track-frames/s", "forward alone", "backbone / ceiling",
        "engine / ceiling", "engine / forward",
    )  # fmt: skip
    print(markdown(columns, rows))
