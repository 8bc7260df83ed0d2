"""Fit presence to a set of sequences and record it in a weights file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from model.engine import Engine
from model.network.inference import resolve_precision
from model.tracker import PRESETS, params_from_json
from model.tracker.params import published
from model.tracker.presence import PresenceFit
from model.training.data.sources import sequence_rows
from model.training.evaluate import load_clips
from model.training.presence.fit import PlayedClip, play
from model.training.presence.troubles import TROUBLES, troubled
from model.weights import load_weights
from model.weights.load import save_weights

EACH = 3  # troubles that are drawn for a sequence
_APART = 7  # places in the list to the sequence that gives the texture


def play_sequences(
    weights: Path, folder: Path, split: str, *, seed: int = 1, names: Sequence[str] = ()
) -> Iterator[PlayedClip]:
    """Track the sequences of a split as they are, and each again with a few troubles, by the published tracker.

    Args:
        weights: the file whose tracker and network are used.
        folder: holds `sequences.parquet` and `masks.parquet`.
        seed: of the troubles.
        names: only these sequences.

    Raises:
        ValueError: there is no such sequence, or one cannot be tracked.
    """
    loaded = load_weights(weights)
    own = loaded.metadata.get("tracker")
    params = published(params_from_json(json.dumps(own)) if own else PRESETS["davis"])
    every = [row["sequence"] for row in sequence_rows(folder, split)]
    with Engine(loaded.model, params, precision=resolve_precision("auto", "cpu")) as engine:
        for place, name in enumerate(every):
            if names and name not in names:
                continue
            other = next(iter(load_clips(folder, split, [every[(place + _APART) % len(every)]])))
            rng = np.random.default_rng([seed, place])
            for clip in load_clips(folder, split, [name]):
                yield play(engine, clip, name, is_troubled=False)
                for trouble in sorted(rng.choice(TROUBLES, EACH, replace=False).tolist()):
                    yield play(engine, troubled(clip, other, trouble, rng), name, is_troubled=True)


def record_presence(weights: Path, target: Path, fit: PresenceFit) -> None:
    """Write the model of `weights` to `target`, with the fit in its metadata."""
    loaded = load_weights(weights)
    dtype = torch.float16 if loaded.layout == "siammask-batch" else torch.float32
    save_weights(target, loaded.model, metadata={**loaded.metadata, "presence": fit.to_dict()}, dtype=dtype)
