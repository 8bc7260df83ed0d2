"""Learning rates, frozen stages and averaged weights over a run."""

from __future__ import annotations

import copy
import math

import torch
from torch import nn

from model.network import SiamMask
from model.training.config import TrainingConfig

_TRAINED_STAGE = "backbone.layer3."


def rate_factor(progress: float, config: TrainingConfig) -> float:
    """The learning rate as a share of the highest, at `progress` from 0 to 1: a rise, then a half cosine."""
    progress = min(max(progress, 0.0), 1.0)
    if progress < config.warmup:
        return 0.05 + 0.95 * progress / config.warmup
    fall = (progress - config.warmup) / max(1e-9, 1 - config.warmup)
    return config.last_rate + (1 - config.last_rate) * 0.5 * (1 + math.cos(math.pi * fall))


def make_optimizer(model: SiamMask, config: TrainingConfig) -> torch.optim.AdamW:
    """AdamW over everything behind stage 3: stage 4 as group 0, neck, branches and refinement after it.

    Norms and biases have no weight decay. The stages before are frozen for good.
    """
    stage4: list[nn.Parameter] = []
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if name.startswith(_TRAINED_STAGE):
            stage4.append(parameter)
        elif name.startswith("backbone."):
            parameter.requires_grad_(False)
        elif parameter.ndim > 1:
            decayed.append(parameter)
        else:
            plain.append(parameter)
    return torch.optim.AdamW(
        [
            {"params": stage4, "factor": config.backbone_factor, "weight_decay": config.weight_decay},
            {"params": decayed, "factor": 1.0, "weight_decay": config.weight_decay},
            {"params": plain, "factor": 1.0, "weight_decay": 0.0},
        ],
        lr=config.learning_rate,
        fused=True,
    )


def apply_schedule(optimizer: torch.optim.Optimizer, progress: float, config: TrainingConfig) -> float:
    """Set rates and what is frozen for `progress`; returns the rate of the branches."""
    rate = config.learning_rate * rate_factor(progress, config)
    train_stage = progress >= config.unfreeze_at
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]
    for parameter in optimizer.param_groups[0]["params"]:
        parameter.requires_grad_(train_stage)
        if not train_stage:
            parameter.grad = None
    return rate


class AveragedModel:
    """An exponential average of a model's weights and running statistics, faster in the first steps."""

    def __init__(self, model: SiamMask, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self._decay = decay

    @torch.no_grad()
    def update(self, model: SiamMask, step: int) -> None:
        """Move towards `model` after `step` steps."""
        decay = min(self._decay, (1 + step) / (10 + step))
        for mine, theirs in zip(self.model.state_dict().values(), model.state_dict().values(), strict=True):
            if mine.is_floating_point():
                mine.lerp_(theirs, 1 - decay)
            else:
                mine.copy_(theirs)
