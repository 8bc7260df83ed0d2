"""Settings of a training run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from model.network import SiamMaskConfig
from model.network.inference import resolve_precision
from model.tracker.crop import SEARCH_SIZE
from model.training.data.pairs import PairRules
from model.training.losses import LossWeights

# Left out of training, to choose checkpoints and tracker parameters on.
HELD_OUT = ("car-turn", "flamingo", "hike", "motocross-bumps")

Stage = Literal["joint", "base", "refine"]
Schedule = Literal["cosine", "published"]
TrainingPrecision = Literal["bf16", "fp32"]
REFINE_SEARCH_SIZE = 143


def usual_precision() -> TrainingPrecision:
    """bf16 where this machine has a GPU or a CPU with instructions for it, without which it is many times slower."""
    if torch.cuda.is_available():
        return "bf16"
    return "bf16" if resolve_precision("auto", "cpu") == "bf16" else "fp32"


# What cannot change between a checkpoint and the run that takes it up.
_FIXED = (
    "network", "stage", "schedule", "batch_size", "seed", "held_out", "pairs", "weights", "unfreeze_at", "unfreeze_more"
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """What a run does. The run ends after `minutes` of wall time, or after `steps` when that is set.

    Attributes:
        stage: `joint` trains all; `base` leaves the refinement out; `refine` trains the refinement alone, on
            search crops of 143 pixels, with everything else as it is.
        schedule: `cosine` is AdamW with a rise to `learning_rate` over the share `warmup`, then a half cosine down
            to the share `last_rate` of it. `published` is SGD: a rise from a fifth over a quarter of the run (5 of 20
            epochs), then a geometric fall to a half.
        unfreeze_at: share of the run from which stage 4 of the backbone trains, at `backbone_factor` of the rate; 1
            is never. The backbone's batch norm keeps the statistics that it came with.
        unfreeze_more: the same for stage 3 and then stage 2; where missing, never.
        average: decay of the averaged weights, which are the result.
        negative_pairs: each search crop also answers the template of another pair.
        precision: bf16 is autocast to bfloat16; by default as `usual_precision` says.
        log_steps: how often losses are recorded.
        checkpoint_minutes, checkpoint_steps: how often a checkpoint is written; steps count when set.
        validate_steps: how often the held-out sequences are tracked; 0 is never.
    """

    network: SiamMaskConfig = field(default_factory=lambda: SiamMaskConfig("resnet18", "three", True))
    weights: LossWeights = field(default_factory=LossWeights)
    pairs: PairRules = field(default_factory=PairRules)
    held_out: tuple[str, ...] = HELD_OUT
    stage: Stage = "joint"
    schedule: Schedule = "cosine"
    minutes: float = 90.0
    steps: int = 0
    batch_size: int = 16
    learning_rate: float = 1e-3
    last_rate: float = 0.01
    warmup: float = 0.03
    unfreeze_at: float = 0.15
    unfreeze_more: tuple[float, ...] = ()
    backbone_factor: float = 0.1
    weight_decay: float = 1e-4
    clip_norm: float = 10.0
    average: float = 0.996
    negative_pairs: bool = True
    precision: TrainingPrecision = field(default_factory=usual_precision)
    seed: int = 1
    workers: int = 1
    log_steps: int = 20
    checkpoint_minutes: float = 5.0
    checkpoint_steps: int = 0
    validate_steps: int = 0

    def __post_init__(self) -> None:
        if self.steps <= 0 and self.minutes <= 0:
            raise ValueError(f"nothing to train: steps {self.steps} and minutes {self.minutes}; set one above 0")
        if self.batch_size < 2:
            raise ValueError(f"batch size {self.batch_size}: batch norm and negative pairs need at least 2")
        for name, value, kind in (
            ("stage", self.stage, Stage),
            ("schedule", self.schedule, Schedule),
            ("precision", self.precision, TrainingPrecision),
        ):
            if value not in get_args(kind):
                raise ValueError(f"{name} {value!r}: expected one of {', '.join(get_args(kind))}")
        if self.stage == "refine" and not self.network.refine:
            raise ValueError("stage refine: the network has no refinement; leave --no-refine out")
        if self.stage == "base" and self.network.refine:
            raise ValueError("stage base: trains a network without refinement; add --no-refine")
        shares = [self.unfreeze_at, *self.unfreeze_more]
        if len(shares) > 3 or shares != sorted(shares):
            raise ValueError(f"unfreezing at {shares}: expected up to three shares that do not fall, stages 4, 3 and 2")

    @property
    def search_size(self) -> int:
        """Side of the search crops in pixels."""
        return REFINE_SEARCH_SIZE if self.stage == "refine" else SEARCH_SIZE

    def to_json(self) -> str:
        """The settings as JSON, for the record of a run."""
        return json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> TrainingConfig:
        """Read what `to_json` wrote; ValueError names a field that there is not."""
        return cls.from_dict(json.loads(text))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainingConfig:
        """Read the values of `to_json`; ValueError names a field that there is not."""
        values = dict(values)
        if unknown := sorted(set(values) - {item.name for item in fields(cls)}):
            raise ValueError(f"training settings have no {unknown[0]!r}")
        for name, kind in (("network", SiamMaskConfig), ("weights", LossWeights), ("pairs", PairRules)):
            if name in values:
                values[name] = kind(**values[name])
        for name in ("held_out", "unfreeze_more"):
            if name in values:
                values[name] = tuple(values[name])
        return cls(**values)

    def write(self, path: Path) -> None:
        """Write the settings as JSON."""
        path.write_text(self.to_json())

    def check_resumes(self, earlier: str, where: str) -> None:
        """Raise ValueError, naming the setting, where a run with the settings `earlier` (JSON) is another run."""
        known = {item.name for item in fields(self)}
        recorded = {name: value for name, value in json.loads(earlier).items() if name in known}
        before, now = (json.loads(item.to_json()) for item in (self.from_dict(recorded), self))
        for item in (before, now):
            item["held_out"] = sorted(item["held_out"])
        for name in _FIXED:
            if before[name] != now[name]:
                raise ValueError(
                    f"{where} holds a run with {name} {before[name]}, this one has {now[name]}: "
                    "give the same, or another folder"
                )
