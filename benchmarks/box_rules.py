"""Overlap with the mask, and time, of each rule that makes a rotated box of a mask, on DAVIS-2016 ground truth.

python -m benchmarks.box_rules --davis ../shared/data/davis
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer

from benchmarks.hardware import describe
from model.masks.best_overlap import overlap
from model.masks.rotated_box import RULES, RotatedBox, box_from_mask
from model.training.data.sources import sequence_masks

PAPER_MS = 200.0  # the paper's own search for the best box runs at 5 frames/s


def main(
    davis: Annotated[Path, typer.Option(help="Folder with sequences.parquet and masks.parquet.")],
    split: Annotated[str, typer.Option(help="train or val.")] = "val",
) -> None:
    """Print a Markdown table: mean overlap of each rule, masks worse than `mbr`, and processor time a mask."""
    cv2.setNumThreads(1)
    windows = [_cut(mask) for frames in sequence_masks(davis, split).values() for mask in _joined(frames)]
    windows = [window for window in windows if box_from_mask(window) is not None]
    overlaps: dict[str, np.ndarray] = {}
    print(f"{describe('cpu')}; {len(windows)} masks of the {split} split, one thread\n")
    print("| rule | mean overlap | ms of one core a mask | masks worse than mbr |")
    print("|---|---|---|---|")
    for rule in ("mbr", *(rule for rule in RULES if rule != "mbr")):
        began = time.process_time()
        boxes = [box_from_mask(window, rule) for window in windows]
        took = (time.process_time() - began) / len(windows) * 1000
        overlaps[rule] = np.array([_overlap(window, box) for window, box in zip(windows, boxes, strict=True)])
        worse = int((overlaps[rule] < overlaps["mbr"] - 1e-9).sum())
        print(f"| {rule} | {overlaps[rule].mean():.3f} | {took:.2f} | {worse} |")
        if rule == "opt":
            times = PAPER_MS / took
    print(f"\n`opt` is {times:.0f} times as fast as the {PAPER_MS:.0f} ms a frame of the paper's rate.")


def _joined(frames: dict[int, dict[str, np.ndarray]]) -> list[np.ndarray]:
    return [np.any(list(objects.values()), axis=0) for objects in frames.values()]


def _cut(mask: np.ndarray) -> np.ndarray:
    """The part of a mask that holds its pixels, with a pixel's margin."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if rows.size == 0:
        return mask[:0, :0]
    cut = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return np.ascontiguousarray(np.pad(cut, 1), dtype=np.uint8)


def _overlap(window: np.ndarray, box: RotatedBox | None) -> float:
    return 0.0 if box is None else float(overlap(window, np.array([[box.cx, box.cy, box.w, box.h, box.angle]]))[0])


if __name__ == "__main__":
    typer.run(main)
