"""Make the weights file that is shipped: float16, with all that it should say of itself in its header."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from model.tracker import TrackerParams
from model.tracker.params import robust
from model.training.checkpoint import BEST, SETTINGS, WEIGHTS
from model.training.config import TrainingConfig
from model.weights import load_weights, save_weights

NAME = "siammask-r18"
LICENCE = (
    "code MIT; these weights are for research and non-commercial use: trained on DAVIS-2016 (CC BY-NC 4.0, cite "
    "Perazzi et al., CVPR 2016), COCO images and other web stills; backbone from torchvision's ImageNet weights (BSD-3)"
)
DATA = (
    "DAVIS-2016 train split (30 sequences less those held out) and 8,476 masked objects of COCO and web stills "
    "(those neither tiny, huge nor thin)"
)


def write_bundle(
    source: Path,
    target: Path,
    *,
    tracker: TrackerParams,
    training: Mapping[str, Any],
    figures: Mapping[str, float],
    name: str = NAME,
    licence: str = LICENCE,
    data: str = DATA,
    start: Path | None = None,
) -> None:
    """Write the model of `source` to `target` with its record.

    Args:
        tracker: the numbers it is to be used with; its own preset is these with what `robust` switches on.
        training: settings of its run.
        figures: what it scores, by name.
        licence, data: terms of the weights, and what they were trained on; by default those of the bundled model.
        start: the weights file that its run started from; the runs that this one records come before it.
    """
    loaded = load_weights(source)
    before: list[dict[str, Any]] = []
    if start is not None:
        earlier = load_weights(start).metadata
        last: dict[str, Any] = {key: earlier[key] for key in ("training", "steps") if key in earlier}
        if start.name in (WEIGHTS, BEST) and (start.parent / SETTINGS).exists():
            last["training"] = run_settings(start.parent)  # says too what that run started from
        before = [*earlier.get("before", ()), last]
    metadata = {
        "name": name,
        "licence": licence,
        "data": data,
        "tracker": asdict(robust(tracker)),
        "steps": loaded.metadata.get("steps", 0),
        "training": dict(training),
        "before": before,
        "figures": dict(figures),
    }
    save_weights(target, loaded.model, metadata=metadata)


def run_settings(folder: Path) -> dict[str, Any]:
    """The settings that a training run recorded in its folder, and the names of the files it started from."""
    recorded = json.loads((folder / SETTINGS).read_text())
    origin = {name: recorded.pop(name, None) for name in ("start", "backbone")}
    return {**json.loads(TrainingConfig.from_dict(recorded).to_json()), **origin}
