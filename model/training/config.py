"""Settings of a training run."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from model.losses import LossWeights
from model.network import SiamMaskConfig
from model.training.pairs import PairRules

# Left out of training, to choose checkpoints and tracker parameters on.
HELD_OUT = ("car-turn", "flamingo", "hike", "motocross-bumps")


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """What a run does. The run ends after `minutes` of wall time, or after `steps` when that is set.

    The learning rate rises over the share `warmup`, then falls along a cosine. Stage 4 of the backbone trains from
    the share `unfreeze_at` on, at `backbone_factor` of the rate; the stages before it never.
    """

    network: SiamMaskConfig = field(default_factory=lambda: SiamMaskConfig("resnet18", "three", True))
    weights: LossWeights = field(default_factory=LossWeights)
    pairs: PairRules = field(default_factory=PairRules)
    held_out: tuple[str, ...] = HELD_OUT
    minutes: float = 90.0
    steps: int = 0
    batch_size: int = 16
    learning_rate: float = 1e-3
    last_rate: float = 0.01
    warmup: float = 0.03
    unfreeze_at: float = 0.15
    backbone_factor: float = 0.1
    weight_decay: float = 1e-4
    clip_norm: float = 10.0
    average: float = 0.996
    negative_pairs: bool = True
    seed: int = 1
    workers: int = 1
    checkpoint_minutes: float = 5.0

    def __post_init__(self) -> None:
        if self.steps <= 0 and self.minutes <= 0:
            raise ValueError(f"nothing to train: steps {self.steps} and minutes {self.minutes}; set one above 0")
        if self.batch_size < 2:
            raise ValueError(f"batch size {self.batch_size}: batch norm and negative pairs need at least 2")

    def write(self, path: Path) -> None:
        """Write the settings as JSON, for the record of a run."""
        path.write_text(json.dumps(asdict(self), indent=2, sort_keys=True) + "\n")
