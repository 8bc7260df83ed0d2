"""What a run starts from: the weights that its model begins with, and the record of their files."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from model.network import SiamMask
from model.training.checkpoint import SETTINGS
from model.training.config import TrainingConfig
from model.weights import load_imagenet_resnet18, load_weights


def starting_model(config: TrainingConfig, *, start: Path | None = None, backbone: Path | None = None) -> SiamMask:
    """The model that a run begins with; what no file fills is drawn by the run's seed.

    Args:
        start: a weights file. Its network must be that of `config`; to train a refinement it may lack one.
        backbone: in its place, ImageNet weights (`load_imagenet_resnet18`).

    Raises:
        ValueError: a file cannot be read or holds another network; names it.
    """
    torch.manual_seed(config.seed)
    model = SiamMask(config.network)
    if start is not None:
        _fill(model, start, config)
    elif backbone is not None:
        load_imagenet_resnet18(model, backbone)
    return model


def check_same_origin(recorded: Mapping[str, Any], *, start: str | None, backbone: str | None, where: str) -> None:
    """Raise ValueError where a run with the `recorded` settings started from files of other names than these."""
    for option, given in (("start", start), ("backbone", backbone)):
        if option in recorded and _name(recorded[option]) != _name(given):
            raise ValueError(
                f"{where} holds a run with {option} {recorded[option]}, this one has {given}: "
                "give the same, or another folder"
            )


def write_settings(
    config: TrainingConfig, out: Path, *, resumed: bool, start: Path | None, backbone: Path | None
) -> None:
    """Write the settings of a run and the names of the files it starts from.

    Raises:
        ValueError: a `resumed` run started from files of other names.
    """
    origin = {"start": start.name if start else None, "backbone": backbone.name if backbone else None}
    if resumed and (out / SETTINGS).exists():
        check_same_origin(json.loads((out / SETTINGS).read_text()), **origin, where=str(out))
    settings = {**json.loads(config.to_json()), **origin}
    (out / SETTINGS).write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")


def _fill(model: SiamMask, path: Path, config: TrainingConfig) -> None:
    loaded = load_weights(path).model
    loaded_config, own_config = asdict(loaded.config), asdict(model.config)
    if config.stage == "refine":
        loaded_config["refine"] = True
    if loaded_config != own_config:
        raise ValueError(
            f"{path}: holds the network {loaded.config.to_json()}, this run trains {model.config.to_json()}"
        )
    model.load_state_dict({**model.state_dict(), **loaded.state_dict()})


def _name(path: str | None) -> str | None:
    return None if path is None else posixpath.basename(path)
