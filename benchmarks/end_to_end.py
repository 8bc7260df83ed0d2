"""From video files to committed Parquet, beside the published way: one track at a time, float32, full-frame masks.

    python -m benchmarks end-to-end
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pyarrow.compute as pc
import pyarrow.dataset as ds
import torch
import typer

from benchmarks.clips import BenchClip, manifest_row, write_clip
from benchmarks.hardware import describe
from benchmarks.networks import Backbone, random_model
from benchmarks.peer import OneTrackLoop
from benchmarks.tables import markdown
from model.network.calibration import map_ranges
from model.tracker import PRESETS
from model.weights import save_weights
from model.weights.windows import windows_of_videos

_SIZES = {"480p": (854, 480), "1080p": (1920, 1080)}


@dataclass(frozen=True, slots=True)
class JobRate:
    """A job's track-frames a second from its first clip's start to its last commit, and over the whole run.

    `busy` is the engine's share of the time, `precision` what the network was computed in.
    """

    steady: float
    whole: float
    busy: float
    precision: str


def job_rate(clips: list[BenchClip], weights: Path, folder: Path, **options: Any) -> JobRate:
    """Run the real job over clips, each several times under other ids, on the Ray that is running."""
    from pipeline.driver.run import run
    from pipeline.plan.options import SegmentOptions

    manifest, output = folder / "manifest.jsonl", folder / "out"
    manifest.write_text("".join(manifest_row(clip, f"clip-{i}") + "\n" for i, clip in enumerate(clips)))
    started = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        status = run(SegmentOptions(manifest=str(manifest), output=str(output), weights=str(weights), **options))
    wall = time.perf_counter() - started
    if status:
        raise RuntimeError(f"the job ended with status {status}")
    masks = ds.dataset(output / "masks").count_rows()
    table = ds.dataset(output / "clips").to_table(columns=["started_at", "precision"])
    first = pc.min(table["started_at"]).as_py().timestamp()
    last = max(part.stat().st_mtime for part in (output / "clips").iterdir())
    report = json.loads(next((output / "_runs").glob("*/report.json")).read_text())["run"]
    busy, computed = float(report.get("device_busy", 0.0)), ", ".join(pc.unique(table["precision"]).to_pylist())
    return JobRate(masks / (last - first), masks / wall, busy, computed)


def _save_random(path: Path, backbone: Backbone, clip: BenchClip) -> None:
    """Random weights with the ranges that int8 needs, which say that they lose nothing by it."""
    model = random_model(backbone)
    ranges = {"ranges": map_ranges(model, windows_of_videos([clip.path], 4, seed=1)), "lossless": True}
    save_weights(path, model, metadata={"name": backbone, "int8": ranges})


def main(
    backbones: Annotated[str, typer.Option(help="resnet18, resnet50 or both.")] = "resnet50,resnet18",
    sizes: Annotated[str, typer.Option(help="480p, 1080p or both.")] = "480p,1080p",
    objects: Annotated[str, typer.Option(help="Numbers of objects a clip.")] = "1,2,8",
    track_frames: Annotated[int, typer.Option(help="Of a ResNet-50 job; four times for ResNet-18.")] = 960,
    frames: Annotated[int, typer.Option(help="Of a clip.")] = 120,
    peer_frames: Annotated[int, typer.Option(help="Track-frames of the one-track loop.")] = 64,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
    decoder: Annotated[str, typer.Option(help="decord or pyav.")] = "decord",
    precision: Annotated[str, typer.Option(help="Of the job; auto may take int8 too.")] = "auto",
    threads: Annotated[int, typer.Option(help="CPU threads of the one-track loop.")] = 2,
) -> None:
    """End to end: the job against the one-track loop, for clips of 480p and 1080p with 1, 2 and 8 objects."""
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    import ray

    place = "cuda" if device == "cuda" or (device == "auto" and torch.cuda.is_available()) else "cpu"
    print(f"{describe(place)}; decoder {decoder}; the loop: fp32 on the CPU with {threads} threads\n")
    ray.init(log_to_driver=False, include_dashboard=False, configure_logging=False)
    rows, reference = [], {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        slow = OneTrackLoop(random_model("resnet50"), PRESETS["vot"], threads)
        for size in sizes.split(","):
            for count in map(int, objects.split(",")):
                width, height = _SIZES[size]
                path = folder / f"{size}-{count}.mp4"
                clip = write_clip(path, width=width, height=height, objects=count, frames=frames)
                reference[size, count] = slow.run(clip.path, clip.boxes, max(3, peer_frames // count)).rate
                for backbone in backbones.split(","):
                    weights = folder / f"{backbone}.safetensors"
                    if not weights.exists():
                        _save_random(weights, backbone, clip)  # type: ignore[arg-type]
                    wanted = track_frames * (4 if backbone == "resnet18" else 1)
                    clips = [clip] * max(2 if count > 2 else 4, wanted // (frames * count))
                    output = folder / f"{size}-{count}-{backbone}"
                    output.mkdir()
                    rate = job_rate(
                        clips, weights, output, device=place, decoder=decoder, preset="vot", precision=precision
                    )
                    peer = reference[size, count]
                    rows.append(
                        (backbone, size, count, len(clips), rate.precision, f"{rate.steady:.1f}", f"{peer:.1f}",
                         f"{rate.steady / peer:.1f}", f"{rate.whole:.1f}", f"{rate.busy:.0%}")
                    )  # fmt: skip
                    print(*rows[-1], sep="\t", file=sys.stderr)
    ray.shutdown()
    columns = (
        "backbone", "frames", "objects", "clips", "precision", "job, track-frames/s", "one-track loop, ResNet-50",
        "ratio", "job with start and end", "engine busy",
    )  # fmt: skip
    print(markdown(columns, rows))
