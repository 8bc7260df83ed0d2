"""Several training workers learn what one would: gradients, statistics, losses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp

from infra.local.seaweed import free_port_block
from model.network import SiamMask, SiamMaskConfig
from model.training.config import TrainingConfig
from model.training.data.batches import BatchDataset
from model.training.data.pairs import PairRules
from model.training.step import TrainingStep
from model.training.workers import Workers
from tests.model.training.pictures import small_store
from tests.model.training.sharing import learn, worker

CONFIG = TrainingConfig(
    network=SiamMaskConfig("resnet18", "three", True),
    pairs=PairRules(search_shift=24),
    held_out=(),
    steps=1,
    batch_size=4,
    precision="fp32",
    unfreeze_at=0.0,
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_store(tmp_path_factory.mktemp("store"))


def test_two_workers_with_half_the_batch_have_the_gradients_of_one(store: Path, tmp_path: Path) -> None:
    alone = learn(store, CONFIG)
    mp.spawn(worker, (free_port_block(), store, CONFIG, tmp_path), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert first.keys() == second.keys() == alone.keys()
    assert any(name.startswith("backbone.layer3") for name in alone)
    for name, wanted in alone.items():
        assert torch.equal(first[name], second[name]), name
        error = (first[name] - wanted).norm()
        # The bias before a branch's own batch norm changes nothing: its gradient is rounding, about 1e-6.
        assert error < 1e-3 * wanted.norm() + 1e-5, f"{name}: {error} of {wanted.norm()}"


def test_workers_see_the_pairs_that_one_worker_would(store: Path) -> None:
    whole = BatchDataset(store, CONFIG, length=3)[2]
    parts = [BatchDataset(store, CONFIG, length=3, part=part, parts=2)[2] for part in range(2)]
    assert torch.equal(whole.search, torch.cat([part.search for part in parts]))
    assert torch.equal(whole.classes, torch.cat([part.classes for part in parts]))
    assert torch.equal(whole.fine, torch.cat([part.fine for part in parts]))


def test_a_batch_that_cannot_be_shared_is_refused(store: Path) -> None:
    with pytest.raises(ValueError, match="batch size 4 cannot be divided among 3 workers"):
        BatchDataset(store, CONFIG, length=1, parts=3)


def test_one_worker_shares_nothing() -> None:
    model = SiamMask(replace(CONFIG.network, variant="two", refine=False))
    norms = [type(module) for module in model.modules()]
    Workers().share_norms(model)
    assert [type(module) for module in model.modules()] == norms
    step = TrainingStep(model, CONFIG)
    assert Workers().share(step) is step
    assert Workers().gather("a") == ["a"]
