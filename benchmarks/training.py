"""Training in pairs a second, beside the network alone on a ready batch and the making of batches alone.

Without --store the pictures are drawn: 40 of 854x480 with a disk. Weights are random: they change no time.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, cast
from unittest.mock import patch

import cv2
import numpy as np
import torch
import typer

from benchmarks.hardware import describe
from model.network import SiamMaskConfig
from model.network.siammask import Backbone
from model.training.config import TrainingConfig
from model.training.data.batches import Batch, BatchDataset
from model.training.data.training_store import Picture, write_store
from model.training.history import LOSSES, read_rows
from model.training.loop import train


def main(
    store: Annotated[Path | None, typer.Option(help="A prepared training store.")] = None,
    resnets: Annotated[str, typer.Option(help="Layers of the backbones, with commas between.")] = "18,50",
    batch_size: Annotated[int, typer.Option(help="Pairs a step.")] = 8,
    steps: Annotated[int, typer.Option(help="Steps that are measured, after 4 that are not.")] = 20,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    threads: Annotated[int, typer.Option(help="CPU threads of the network.")] = 2,
    loaders: Annotated[int, typer.Option(help="Processes that make batches.")] = 1,
    precision: Annotated[str, typer.Option(help="bf16 or fp32.")] = "bf16",
) -> None:
    """Print a Markdown table with a row a backbone; stage 4 of it trains, which takes the most time."""
    torch.set_num_threads(threads)
    print(f"{describe(device)}; {threads} threads, {loaders} loaders, batches of {batch_size}, {precision}\n")
    print("| network | training, pairs/s | share spent on data | network alone, pairs/s | batches alone, pairs/s |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        pictures = store or _drawn(Path(scratch) / "store")
        for layers in resnets.split(","):
            config = TrainingConfig(
                network=SiamMaskConfig(cast(Backbone, f"resnet{layers}"), "three", True), held_out=(), steps=steps + 4,
                batch_size=batch_size, unfreeze_at=0.0, workers=loaders, log_steps=4, checkpoint_steps=10**9,
                precision=precision,  # type: ignore[arg-type]
            )  # fmt: skip
            rate, share = _trained(config, pictures, Path(scratch) / layers, device)
            alone, _ = _trained(config, pictures, Path(scratch) / f"{layers}-alone", device, ready=True)
            # After the run, which has read the same pictures: the disk is not what is measured.
            made = batch_size * _rate(BatchDataset(pictures, config, length=steps + 4), steps)
            print(f"| resnet{layers} | {rate:.1f} | {share:.1%} | {alone:.1f} | {made:.1f} |", flush=True)


def _trained(
    config: TrainingConfig, store: Path, out: Path, device: str, *, ready: bool = False
) -> tuple[float, float]:
    """Pairs a second and share spent on data of a run, its first rows left out; `ready` gives it one batch only."""
    batch = BatchDataset(store, config, length=1)[0] if ready else None
    source: AbstractContextManager[object] = nullcontext()
    if batch is not None:
        source = patch("model.training.loop.batches", _again(batch))
    with source:
        train(config, store, out, device=device, say=lambda _: None)
    rows = [(float(row["pairs_per_s"]), float(row["data_share"])) for row in read_rows(out / LOSSES)[1:]]
    seconds = [1 / rate for rate, _ in rows]
    return len(rows) / sum(seconds), float(np.average([share for _, share in rows], weights=seconds))


def _again(batch: Batch) -> Callable[..., Iterator[Batch]]:
    """A source of batches that costs nothing: the same one for every step."""
    return lambda dataset, **_: iter([batch] * len(dataset))


def _rate(data: BatchDataset, count: int) -> float:
    """Batches a second of one process."""
    data[0]
    started = time.perf_counter()
    for number in range(count):
        data[number]
    return count / (time.perf_counter() - started)


def _drawn(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    pictures = []
    for frame in range(40):
        pixels = cv2.resize(rng.integers(0, 256, (30, 53, 3)).astype(np.uint8), (854, 480))
        mask = np.zeros((480, 854), np.uint8)
        cv2.circle(mask, (150 + 12 * frame, 240), 70, 1, -1)
        pixels[mask > 0] = (20, 20, 230)
        pictures.append(Picture(pixels, (mask,), ("1",), f"video{frame // 20}", frame % 20, True))
    write_store(pictures, folder)
    return folder
