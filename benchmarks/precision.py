"""What bfloat16, float16 and int8 change: masks against those of float32, and the J of DAVIS-2016 sequences.

python -m benchmarks.precision --davis ../shared/data/davis
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, get_args

import numpy as np
import torch
import typer

from benchmarks.hardware import describe
from model.engine import Engine
from model.metrics import region_j
from model.network import SiamMask
from model.network.inference import Precision
from model.tracker import params_from_json
from model.training.evaluate import judge, load_clips, pasted, track
from model.weights import load_weights
from pipeline.plan.options import BUNDLED_WEIGHTS


def main(
    davis: Annotated[Path, typer.Option(help="Folder with sequences.parquet and masks.parquet.")],
    weights: Annotated[Path, typer.Option(help="A weights file.")] = BUNDLED_WEIGHTS,
    split: Annotated[str, typer.Option(help="train or val.")] = "val",
    sequences: Annotated[str, typer.Option(help="Only these, with commas between.")] = "",
    threads: Annotated[int, typer.Option(help="CPU threads of the network.")] = 2,
) -> None:
    """Print a Markdown table with a row a precision: mean J, its difference, and the overlap with float32's masks."""
    torch.set_num_threads(threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    loaded = load_weights(weights)
    params = params_from_json(json.dumps(loaded.metadata.get("tracker", {})))
    kinds = _precisions(loaded.model, device)
    engines = {kind: Engine(loaded.model, params, device=device, precision=kind) for kind in kinds}
    scores: dict[str, list[float]] = {kind: [] for kind in kinds}
    overlaps: dict[str, list[float]] = {kind: [] for kind in kinds}
    names = [name for name in sequences.split(",") if name]
    for clip in load_clips(davis, split, names):
        height, width = clip.frames.shape[1:3]
        reference: list[np.ndarray] = []
        for kind in kinds:
            outputs = track(engines[kind], clip)
            scores[kind].append(judge(clip, outputs).j.mean)
            masks = [pasted(output, height, width) for output in outputs]
            reference = reference or masks
            same = [region_j(mask, true) for mask, true in zip(masks, reference, strict=True)]
            overlaps[kind].append(float(np.mean(same)))
    for engine in engines.values():
        engine.close()
    print(f"{describe(device)}; {weights.name}, {len(scores['fp32'])} sequences of the {split} split\n")
    print("| precision | mean J | difference to fp32 | mean overlap of masks with fp32's | least, of a sequence |")
    print("|---|---|---|---|---|")
    exact = float(np.mean(scores["fp32"]))
    for kind in kinds:
        mean = float(np.mean(scores[kind]))
        print(
            f"| {kind} | {mean:.4f} | {mean - exact:+.4f} | {np.mean(overlaps[kind]):.4f} | {min(overlaps[kind]):.4f} |"
        )


def _precisions(model: SiamMask, device: str) -> list[Precision]:
    """Those that the network can be computed in on a device."""
    kinds: tuple[Precision, ...] = get_args(Precision)
    return [kind for kind in kinds if kind != "int8" or (device == "cpu" and model.int8_ranges)]


if __name__ == "__main__":
    typer.run(main)
