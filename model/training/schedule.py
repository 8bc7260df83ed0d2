"""Learning rates, frozen stages and averaged weights over a run."""

from __future__ import annotations

import copy
import math

import torch
from torch import nn

from model.network import SiamMask
from model.training.config import TrainingConfig

# The order in which the backbone's stages are freed: stages 4, 3 and 2.
_STAGES = ("layer3", "layer2", "layer1")
_MOMENTUM = 0.9


def rate_factor(progress: float, config: TrainingConfig) -> float:
    """The learning rate as a share of the highest, at `progress` from 0 to 1 (see `TrainingConfig.schedule`)."""
    progress = min(max(progress, 0.0), 1.0)
    if config.schedule == "published":
        rise = 0.25
        return 0.2 + 0.8 * progress / rise if progress < rise else 0.5 ** ((progress - rise) / (1 - rise))
    if progress < config.warmup:
        return 0.05 + 0.95 * progress / config.warmup
    fall = (progress - config.warmup) / max(1e-9, 1 - config.warmup)
    return config.last_rate + (1 - config.last_rate) * 0.5 * (1 + math.cos(math.pi * fall))


def make_optimizer(model: SiamMask, config: TrainingConfig) -> torch.optim.Optimizer:
    """The optimiser of a schedule: AdamW, or SGD with momentum 0.9 for the published one.

    Groups: one a stage of the backbone that is to train, stage 4 first; then neck, branches and refinement with
    weight decay, then their norms and biases without. In stage `refine` only the refinement is in them. What is in
    no group is frozen for good.
    """
    shares = [] if config.stage == "refine" else [config.unfreeze_at, *config.unfreeze_more]
    stages: list[list[nn.Parameter]] = [[] for _ in shares]
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        stage = _stage(name)
        if stage is not None and stage < len(stages):
            stages[stage].append(parameter)
        elif name.startswith("backbone.") or (config.stage == "refine" and not name.startswith("refine.")):
            parameter.requires_grad_(False)
        elif parameter.ndim > 1:
            decayed.append(parameter)
        else:
            plain.append(parameter)
    groups: list[dict] = [
        {"params": params, "factor": config.backbone_factor, "weight_decay": config.weight_decay, "from": share}
        for params, share in zip(stages, shares, strict=True)
    ]
    groups += [
        {"params": decayed, "factor": 1.0, "weight_decay": config.weight_decay, "from": 0.0},
        {"params": plain, "factor": 1.0, "weight_decay": 0.0, "from": 0.0},
    ]
    if config.schedule == "published":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=_MOMENTUM)
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)


def _stage(name: str) -> int | None:
    """Place in `_STAGES` of a parameter of the backbone, None for any other."""
    parts = name.split(".")
    return _STAGES.index(parts[1]) if parts[0] == "backbone" and parts[1] in _STAGES else None


def apply_schedule(optimizer: torch.optim.Optimizer, progress: float, config: TrainingConfig) -> float:
    """Set rates and what is frozen for `progress`; returns the rate of the branches."""
    rate = config.learning_rate * rate_factor(progress, config)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]
        trains = progress >= group["from"]
        for parameter in group["params"]:
            parameter.requires_grad_(trains)
            if not trains:
                parameter.grad = None
    return rate


def trained_groups(progress: float, optimizer: torch.optim.Optimizer) -> int:
    """How many groups of the optimiser train at `progress`: it changes where a stage of the backbone is freed."""
    return sum(progress >= group["from"] for group in optimizer.param_groups)


def training_mode(model: SiamMask, config: TrainingConfig) -> None:
    """Put a network into training mode: norms of the backbone, and in stage `refine` all, keep their statistics."""
    model.train()
    model.backbone.eval()
    if config.stage == "refine":
        model.eval()
        if model.refine is not None:
            model.refine.train()


class AveragedModel:
    """An exponential average of a model's weights and running statistics, faster in the first steps."""

    def __init__(self, model: SiamMask, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self._decay = decay

    @torch.no_grad()
    def update(self, model: SiamMask, step: int) -> None:
        """Move towards `model` after `step` steps."""
        decay = min(self._decay, (1 + step) / (10 + step))
        for average, current in zip(self.model.state_dict().values(), model.state_dict().values(), strict=True):
            if average.is_floating_point():
                average.lerp_(current, 1 - decay)
            else:
                average.copy_(current)
