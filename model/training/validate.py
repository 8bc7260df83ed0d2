"""Validation of a run by real tracking: the held-out sequences, shared out among the workers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from model.network import SiamMask
from model.network.inference import Precision, resolve_precision
from model.tracker import PRESETS
from model.training.data.sources import sequence_rows
from model.training.data.tables import Annotations
from model.training.evaluate import Result, evaluate, judged_objects, load_clips
from model.training.loop import Validate
from model.training.workers import Workers


def held_out_sequences(folders: Sequence[Path], names: Collection[str], split: str = "train") -> list[tuple[Path, str]]:
    """Folder and name of the sequences of these names in folders with tables.

    Raises ValueError where one is in none of them, or has too few masks to be judged by.
    """
    sequences = [(folder, row["sequence"]) for folder in folders for row in sequence_rows(folder, split)]
    chosen = [(folder, name) for folder, name in sequences if name in names]
    if missing := set(names) - {name for _, name in chosen}:
        where = ", ".join(map(str, folders)) or "any set"
        raise ValueError(f"no {split} sequence {', '.join(sorted(missing))} to hold out in {where}")
    for folder, name in chosen:
        judged_objects(Annotations(folder, split, [name]).of(name), f"{folder}: held-out sequence {name}")
    return chosen


def tracking_validation(
    sequences: Sequence[tuple[Path, str]],
    *,
    split: str = "train",
    device: str = "cpu",
) -> Validate:
    """A function that tracks `sequences` (folder, name) from their init boxes and gives mean J and F, and each J."""
    precision: Precision = resolve_precision("auto", device)

    def validate(model: SiamMask) -> dict[str, float]:
        workers = Workers.of_group()
        results: list[Result] = []
        for folder, name in sequences[workers.rank :: workers.count]:
            clips = load_clips(folder, split, [name])
            results += evaluate(model, PRESETS["davis"], clips, precision=precision, device=device)
        scores = [(result.name, result.j.mean, result.f.mean) for result in results]
        everyone = sorted(result for part in workers.gather(scores) for result in part)
        return {
            "j": float(np.mean([j for _, j, _ in everyone])),
            "f": float(np.mean([f for _, _, f in everyone])),
            **{f"j_{name}": float(j) for name, j, _ in everyone},
        }

    return validate
