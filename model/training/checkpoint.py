"""The checkpoint of a run: everything that the rest of its loss curve depends on.

Batches, negative partners and rates depend on the settings and the number of the step alone, so the step is also the
position in the data and the state of all random draws.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch

from model.network import SiamMask
from model.training.config import TrainingConfig
from model.training.schedule import AveragedModel
from model.weights import save_weights

CHECKPOINT, WEIGHTS, BEST, SETTINGS = "checkpoint.pt", "weights.safetensors", "best.safetensors", "config.json"


@dataclass(slots=True)
class Progress:
    """How far a run is: steps done, seconds spent over all resumptions, and the best J of a validation so far."""

    step: int = 0
    seconds: float = 0.0
    best_j: float = -1.0


def save_checkpoint(
    folder: Path,
    config: TrainingConfig,
    model: SiamMask,
    averaged: AveragedModel,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
) -> None:
    """Write checkpoint and averaged weights, each by renaming a whole file."""
    state = {
        "config": config.to_json(),
        "model": model.state_dict(),
        "averaged": averaged.model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "step": progress.step,
        "seconds": progress.seconds,
        "best_j": progress.best_j,
    }
    partial = folder / (CHECKPOINT + ".partial")
    torch.save(state, partial)
    partial.replace(folder / CHECKPOINT)
    write_weights(folder / WEIGHTS, config, averaged, progress.step)


def write_weights(path: Path, config: TrainingConfig, averaged: AveragedModel, step: int) -> None:
    """Write the averaged weights by renaming a whole file; it records steps and settings."""
    partial = path.with_name("partial-" + path.name)
    save_weights(partial, averaged.model, metadata={"steps": step, "training": json.loads(config.to_json())})
    partial.replace(path)


def load_checkpoint(
    folder: Path, config: TrainingConfig, model: SiamMask, averaged: AveragedModel, optimizer: torch.optim.Optimizer
) -> Progress | None:
    """Take up the checkpoint of `folder`, None when there is none.

    Raises:
        ValueError: it is of a run with other settings (see `TrainingConfig.check_resumes`).
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    state = torch.load(path, map_location="cpu", weights_only=True)
    config.check_resumes(state["config"], str(folder))
    model.load_state_dict(state["model"])
    averaged.model.load_state_dict(state["averaged"])
    optimizer.load_state_dict(state["optimizer"])
    return Progress(int(state["step"]), float(state["seconds"]), float(state["best_j"]))
