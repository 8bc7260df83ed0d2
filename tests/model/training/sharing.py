"""One training step as each of several worker processes takes it; the processes import this file by its name."""

from __future__ import annotations

import os
from pathlib import Path

import torch
import torch.distributed as dist

from model.network import SiamMask
from model.training.config import TrainingConfig
from model.training.data.batches import BatchDataset
from model.training.schedule import apply_schedule, make_optimizer, training_mode
from model.training.step import LossCounts, TrainingStep, batch_counts
from model.training.workers import Workers

# Of half a batch each other's templates, so that one worker and two see the same negatives.
NEGATIVES = torch.tensor([1, 0, 3, 2])


def learn(store: Path, config: TrainingConfig) -> dict[str, torch.Tensor]:
    """Gradients and batch-norm statistics after one step of this process's part of the batch, and the mean loss."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    workers = Workers.of_group()
    model = SiamMask(config.network)
    optimizer = make_optimizer(model, config)
    apply_schedule(optimizer, 0.5, config)
    workers.share_norms(model)
    training_mode(model, config)
    batch = BatchDataset(store, config, length=1, part=workers.rank, parts=workers.count)[0]
    size = config.batch_size // workers.count
    negatives = NEGATIVES[:size]
    counts = LossCounts(*workers.mean(batch_counts(batch, negatives))) if workers.count > 1 else None
    step = workers.share(TrainingStep(model, config))
    losses = step(batch, negatives, counts)
    losses.total.backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    found |= {name: value.clone() for name, value in model.named_buffers() if "running" in name}
    found["losses"] = workers.mean(torch.stack([value.detach() for value in losses]))
    return found


def worker(rank: int, port: int, store: Path, config: TrainingConfig, out: Path) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=2)
    torch.save(learn(store, config), out / f"{rank}.pt")
    dist.destroy_process_group()
