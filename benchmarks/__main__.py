"""Measure decoding and tracking on this machine; every figure stands beside its ceiling.

make bench
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table

from benchmarks import decoding, hardware, tracking
from model.prepare import resolve_precision
from pipeline.demo.corpus import write_corpus
from pipeline.demo.scenes import SCENES, draw


def main(
    tracks: Annotated[str, typer.Option(help="Numbers of tracks stepped together.")] = "1,4,16",
    backbone: Annotated[str, typer.Option(help="resnet18 or resnet50.")] = "resnet18",
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16.")] = "auto",
    repeats: Annotated[int, typer.Option(help="Decodings of a file; the best counts.")] = 5,
    seconds: Annotated[float, typer.Option(help="Time given to each forward measurement.")] = 5.0,
) -> None:
    """Print the hardware, then decoding in frames/s and tracking in track-frames/s."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    kind = resolve_precision(precision, device)
    console = Console()
    console.print(hardware.describe(device))

    table = Table("decoder", "frames/s", "FFmpeg alone", "share", title="h264, 640x360, one thread")
    with tempfile.TemporaryDirectory() as folder:
        video = write_corpus(Path(folder)).videos[1]
        limit = decoding.ceiling(video, repeats)
        for decoder in ("decord", "pyav"):
            rate = decoding.frames_per_second(video, decoder, repeats)
            table.add_row(decoder, f"{rate:.0f}", f"{limit:.0f}", f"{rate / limit:.0%}")
    console.print(table)

    model = tracking.random_model(backbone)  # type: ignore[arg-type]
    frames = [frame.rgb[..., ::-1] for frame in draw(SCENES[1])]
    title = f"{backbone} with refinement, {device}, {kind}, frames of 640x360"
    table = Table("tracks", "track-frames/s", "network alone", "share", title=title)
    for count in map(int, tracks.split(",")):
        limit = tracking.forward_rate(model, tracks=count, device=device, precision=kind, seconds=seconds)
        rate = tracking.engine_rate(model, frames, tracks=count, device=device, precision=kind)
        table.add_row(str(count), f"{rate:.1f}", f"{limit:.1f}", f"{rate / limit:.0%}")
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
