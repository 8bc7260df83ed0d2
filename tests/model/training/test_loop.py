"""Training itself: the loss falls, runs resume, schedules and frozen stages are as set."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.network import SiamMask, SiamMaskConfig, vectors_at
from model.training.config import TrainingConfig
from model.training.data.batches import BatchDataset
from model.training.data.pairs import PairRules
from model.training.data.sources import sequence_pictures
from model.training.data.training_store import write_store
from model.training.loop import train
from model.training.schedule import AveragedModel, apply_schedule, make_optimizer, rate_factor, training_mode
from model.training.step import batch_losses, negative_partners
from model.weights import load_weights, save_weights
from tests.model.training.data.test_tables import boxes_set
from tests.model.training.pictures import small_store

SMALL = TrainingConfig(
    pairs=PairRules(paste_share=0.0, distractor_share=0.0, fill_share=0.0, blur_share=0.0, search_shift=16),
    held_out=(),
    steps=20,
    batch_size=2,
    learning_rate=1e-3,
    warmup=0.1,
    unfreeze_at=1.0,
    workers=0,
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_store(tmp_path_factory.mktemp("store"))


@pytest.mark.parametrize(("variant", "refine"), [("three", True), ("two", False)])
def test_the_loss_of_both_variants_falls_in_twenty_steps(store: Path, variant: str, refine: bool) -> None:
    torch.manual_seed(0)
    network = SiamMaskConfig("resnet18", "two" if variant == "two" else "three", refine)
    config = replace(SMALL, network=network)
    model = SiamMask(network).train()
    batch = BatchDataset(store, config, length=1)[0]
    optimizer = make_optimizer(model, config)
    totals = []
    for step in range(config.steps):
        apply_schedule(optimizer, step / config.steps, config)
        losses = batch_losses(model, batch, config.weights, negatives=torch.tensor([1, 0]))
        optimizer.zero_grad()
        losses.total.backward()
        optimizer.step()
        totals.append(losses.total.item())
    assert sum(totals[-4:]) < 0.5 * sum(totals[:4])
    assert (losses.box.item() > 0) is (variant == "three")
    assert (losses.fine.item() > 0) is refine


def test_a_run_writes_weights_and_a_log_and_resumes(store: Path, tmp_path: Path) -> None:
    config = replace(SMALL, network=SiamMaskConfig("resnet18", "two", False), steps=2)
    lines: list[str] = []
    train(config, store, tmp_path, say=lines.append)
    first = load_weights(tmp_path / "weights.safetensors")
    assert first.metadata["steps"] == 2
    assert first.model.config == config.network
    # A longer run in the same folder goes on at step 2 and ends at step 3, as one run of 3 steps would.
    train(replace(config, steps=3), store, tmp_path, say=lines.append)
    resumed = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert resumed["step"] == 3
    assert all(group["lr"] > 0 for group in resumed["optimizer"]["param_groups"])


def test_a_run_starts_from_a_weights_file_of_its_own_network(store: Path, tmp_path: Path) -> None:
    config = replace(SMALL, network=SiamMaskConfig("resnet18", "two", False), steps=1, learning_rate=1e-12)
    model = SiamMask(config.network)
    save_weights(tmp_path / "start.safetensors", model, metadata={}, dtype=torch.float32)
    train(config, store, tmp_path / "run", start=tmp_path / "start.safetensors")
    after = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["model"]
    weight = model.state_dict()["mask.conv_search.0.weight"]
    assert torch.allclose(after["mask.conv_search.0.weight"], weight, atol=1e-6)
    with pytest.raises(ValueError, match="start.safetensors: holds .*two.*trains .*three"):
        train(
            replace(config, network=SiamMaskConfig("resnet18", "three", False)),
            store,
            tmp_path / "other",
            start=tmp_path / "start.safetensors",
        )


def test_the_log_has_a_line_every_so_many_steps(store: Path, tmp_path: Path) -> None:
    config = replace(SMALL, network=SiamMaskConfig("resnet18", "two", False), steps=2, log_steps=1)
    lines: list[str] = []
    train(config, store, tmp_path, say=lines.append)
    with (tmp_path / "losses.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [1, 2]
    assert float(rows[0]["total"]) > 0
    assert len(lines) == 2


def test_rates_rise_then_fall() -> None:
    config = replace(SMALL, warmup=0.1, last_rate=0.01)
    factors = [rate_factor(step / 100, config) for step in range(101)]
    assert factors[0] == pytest.approx(0.05)
    assert factors[10] == pytest.approx(1.0)
    assert factors[100] == pytest.approx(0.01)
    assert all(one >= two for one, two in zip(factors[10:], factors[11:], strict=False))


def test_stage_four_trains_from_its_share_on_and_the_others_never() -> None:
    model = SiamMask(SiamMaskConfig("resnet18", "three", False))
    config = replace(SMALL, unfreeze_at=0.5, backbone_factor=0.1)
    optimizer = make_optimizer(model, config)

    def trained() -> set[str]:
        return {name.split(".")[1] for name, p in model.backbone.named_parameters("backbone") if p.requires_grad}

    apply_schedule(optimizer, 0.4, config)
    assert trained() == set()
    rate = apply_schedule(optimizer, 0.6, config)
    assert trained() == {"layer3"}
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1 * rate)
    assert optimizer.param_groups[1]["lr"] == pytest.approx(rate)


def test_negative_partners_are_of_another_group() -> None:
    group = torch.tensor([3, 3, 5, 7])
    for seed in range(8):
        partner = negative_partners(group, torch.Generator().manual_seed(seed))
        for sample, other in enumerate(partner.tolist()):
            assert other == -1 or group[other] != group[sample]
    assert negative_partners(torch.tensor([1]), torch.Generator()).tolist() == [-1]


def test_the_average_follows_the_weights() -> None:
    model = SiamMask(SiamMaskConfig("resnet18", "two", False))
    averaged = AveragedModel(model, 0.9)
    with torch.no_grad():
        model.neck[0].weight.add_(1.0)
    averaged.update(model, 1000)
    moved = averaged.model.neck[0].weight - model.neck[0].weight
    assert moved.mean().item() == pytest.approx(-0.9, abs=1e-4)


def test_settings_that_train_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="nothing to train"):
        TrainingConfig(minutes=0)
    with pytest.raises(ValueError, match="batch size 1"):
        TrainingConfig(batch_size=1)


def test_stages_of_the_backbone_are_freed_one_after_the_other() -> None:
    model = SiamMask(SiamMaskConfig("resnet50", "three", False))
    config = replace(SMALL, unfreeze_at=0.25, unfreeze_more=(0.5, 0.75))
    optimizer = make_optimizer(model, config)
    for progress, stages in ((0.2, set()), (0.3, {"layer3"}), (0.6, {"layer3", "layer2"})):
        apply_schedule(optimizer, progress, config)
        assert {name.split(".")[0] for name, p in model.backbone.named_parameters() if p.requires_grad} == stages
    apply_schedule(optimizer, 0.8, config)
    frozen = {name.split(".")[0] for name, p in model.backbone.named_parameters() if not p.requires_grad}
    assert frozen == {"conv1", "bn1"}
    with pytest.raises(ValueError, match="shares that do not fall"):
        replace(SMALL, unfreeze_at=0.5, unfreeze_more=(0.4,))


def test_the_published_schedule_rises_to_the_rate_and_falls_to_a_half() -> None:
    config = replace(SMALL, schedule="published", learning_rate=5e-3)
    rates = [config.learning_rate * rate_factor(epoch / 20, config) for epoch in (0, 2.5, 5, 12.5, 20)]
    assert rates == pytest.approx([1e-3, 3e-3, 5e-3, 5e-3 * 0.5**0.5, 2.5e-3])
    optimizer = make_optimizer(SiamMask(config.network), config)
    assert isinstance(optimizer, torch.optim.SGD)
    assert optimizer.param_groups[0]["momentum"] == 0.9


def test_the_norms_of_the_backbone_keep_their_statistics() -> None:
    model = SiamMask(SiamMaskConfig("resnet50", "two", False))
    training_mode(model, SMALL)
    model.neck(model.backbone(torch.rand(2, 3, 127, 127) * 255)[-1])
    assert model.backbone.bn1.running_mean.abs().sum() == 0
    assert model.neck[1].running_mean.abs().sum() > 0


def test_the_refinement_trains_alone_after_the_base(store: Path, tmp_path: Path) -> None:
    base = SiamMask(SiamMaskConfig("resnet18", "three", False))
    save_weights(tmp_path / "base.safetensors", base, metadata={}, dtype=torch.float32)
    config = replace(SMALL, stage="refine", steps=2, batch_size=2, average=0.0)
    assert BatchDataset(store, config, length=1)[0].search.shape == (2, 143, 143, 3)
    train(config, store, tmp_path / "run", start=tmp_path / "base.safetensors", say=lambda _: None)
    after = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["model"]
    before = base.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    torch.manual_seed(config.seed)
    fresh = SiamMask(config.network).state_dict()
    assert not torch.equal(after["refine.post2.weight"], fresh["refine.post2.weight"])


def test_small_crops_have_the_windows_of_large_ones() -> None:
    """A refined mask on the small crop is that on the large one at the same place, away from the borders."""
    torch.manual_seed(0)
    model = SiamMask(SiamMaskConfig("resnet18", "three", True)).eval()
    large, template = torch.rand(1, 3, 255, 255) * 255, torch.rand(1, 3, 127, 127) * 255
    small = large[:, :, 56 : 56 + 143, 56 : 56 + 143]
    found = []
    with torch.inference_mode():
        for crop, cell in ((large, 12), (small, 5)):
            features = model.features(crop)
            response = model.mask.correlate(model.mask.kernel(model.template_features(template)), features.neck)
            place = torch.tensor([cell])
            assert response.shape[-1] == 2 * cell + 1
            where = torch.tensor([0]), place, place
            found.append(model.refined(features, vectors_at(response, *where), *where)[0])
    # Stem features of the middle do not reach the borders, so the finest part of the merge is the same.
    assert torch.allclose(found[0][40:90, 40:90], found[1][40:90, 40:90], atol=0.05)


def test_boxes_alone_train_score_and_box(tmp_path: Path) -> None:
    write_store(sequence_pictures(boxes_set(tmp_path / "set")), tmp_path / "store")
    config = replace(SMALL, held_out=("still",), network=SiamMaskConfig("resnet18", "three", True))
    model = SiamMask(config.network).train()
    losses = batch_losses(model, BatchDataset(tmp_path / "store", config, length=1)[0], config.weights)
    losses.total.backward()
    assert losses.mask.item() == losses.fine.item() == 0
    assert losses.box.item() > 0
    assert model.refine.post2.weight.grad is None or model.refine.post2.weight.grad.abs().sum() == 0
    assert model.score.conv_search[0].weight.grad.abs().sum() > 0


def test_settings_come_back_from_what_a_run_records() -> None:
    config = replace(SMALL, unfreeze_more=(1.0,), network=SiamMaskConfig("resnet50", "two", False))
    assert TrainingConfig.from_json(config.to_json()) == config
    with pytest.raises(ValueError, match="have no 'colour'"):
        TrainingConfig.from_json('{"colour": 1}')
    with pytest.raises(ValueError, match="stage base: trains a network without refinement"):
        replace(SMALL, stage="base")
