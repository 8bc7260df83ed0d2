"""Every kind of network trains: twenty steps on a fixed batch, and the loss falls."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.network import SiamMask, SiamMaskConfig
from model.training.config import TrainingConfig
from model.training.data.batches import BatchDataset
from model.training.data.pairs import PairRules
from model.training.schedule import apply_schedule, make_optimizer, training_mode
from model.training.step import TrainingStep
from tests.model.training.pictures import small_store

STEPS = 20


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["resnet18", "resnet50"])
@pytest.mark.parametrize("variant", ["three", "two"])
def test_the_loss_falls_on_one_batch(tmp_path: Path, backbone: str, variant: str) -> None:
    network = SiamMaskConfig(backbone, variant, True)
    config = TrainingConfig(
        network=network,
        pairs=PairRules(search_shift=16, distractor_share=0.0),
        held_out=(),
        steps=STEPS,
        batch_size=2,
        unfreeze_at=0.8,
    )
    torch.manual_seed(0)
    model = SiamMask(network).to(memory_format=torch.channels_last)
    optimizer = make_optimizer(model, config)
    training_mode(model, config)
    step = TrainingStep(model, config)
    batch = BatchDataset(small_store(tmp_path), config, length=1)[0]
    before = {name: p.detach().clone() for name, p in model.backbone.named_parameters()}
    totals = []
    for number in range(STEPS):
        apply_schedule(optimizer, number / STEPS, config)
        losses = step(batch, torch.tensor([1, 0]), None)
        optimizer.zero_grad()
        losses.total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
        optimizer.step()
        totals.append(losses.total.item())
    assert sum(totals[-5:]) < 0.5 * sum(totals[:5])
    moved = {name.split(".")[0] for name, p in model.backbone.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {"layer3"}


@pytest.mark.slow
def test_the_published_schedule_trains(tmp_path: Path) -> None:
    config = TrainingConfig(
        network=SiamMaskConfig("resnet18", "two", False), schedule="published", learning_rate=5e-3, held_out=(),
        pairs=PairRules(search_shift=16, distractor_share=0.0), steps=20, batch_size=2,
    )  # fmt: skip
    torch.manual_seed(0)
    model = SiamMask(config.network)
    optimizer = make_optimizer(model, config)
    training_mode(model, config)
    step = TrainingStep(model, config)
    batch = BatchDataset(small_store(tmp_path), replace(config, seed=2), length=1)[0]
    totals = []
    for number in range(config.steps):
        apply_schedule(optimizer, number / config.steps, config)
        losses = step(batch, None, None)
        optimizer.zero_grad()
        losses.total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
        optimizer.step()
        totals.append(losses.total.item())
    assert sum(totals[-3:]) < 0.9 * sum(totals[:3])
