"""Make the weights file that is shipped: float16, with all that it should say of itself in its header."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from model.tracker import TrackerParams
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
) -> None:
    """Write the model of `source` to `target` with its record.

    Args:
        tracker: the parameters it is to be used with.
        training: settings of its run.
        figures: what it scores, by name.
    """
    loaded = load_weights(source)
    metadata = {
        "name": name,
        "licence": LICENCE,
        "data": DATA,
        "tracker": asdict(tracker),
        "steps": loaded.metadata.get("steps", 0),
        "training": dict(training),
        "figures": dict(figures),
    }
    save_weights(target, loaded.model, metadata=metadata)


def run_settings(folder: Path) -> dict[str, Any]:
    """The settings that a training run recorded in its folder."""
    return json.loads((folder / "config.json").read_text())
