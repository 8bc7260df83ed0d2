"""The training loop: batches in, a checkpoint and averaged weights out, one CSV line of losses every few steps."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from model.network import SiamMask
from model.training.batches import BatchDataset, Labeller, batches
from model.training.config import TrainingConfig
from model.training.schedule import AveragedModel, apply_schedule, make_optimizer
from model.training.step import StepLosses, batch_losses, negative_partners
from model.weights import load_imagenet_resnet18, load_weights, save_weights

CHECKPOINT, WEIGHTS, LOG = "checkpoint.pt", "weights.safetensors", "losses.csv"
_LOG_EVERY = 20
_COLUMNS = ("step", "seconds", "rate", "pairs_per_s", "data_share", *StepLosses._fields)


def train(
    config: TrainingConfig,
    store: Path,
    out: Path,
    *,
    backbone: Path | None = None,
    start: Path | None = None,
    say: Callable[[str], None] = print,
) -> SiamMask:
    """Train, or go on with what `out` holds, and return the averaged model.

    Args:
        store: folder written by `model.training.store.write_store`.
        out: folder for checkpoint, weights, log and settings; made where absent.
        backbone: ImageNet weights for a fresh start (`load_imagenet_resnet18`).
        start: a weights file to start from instead; its network must be that of `config`.
        say: receives progress lines.

    Raises:
        FileNotFoundError: there is no store.
        ValueError: `start` holds another network.
        FloatingPointError: the loss is not finite; names the step.
    """
    out.mkdir(parents=True, exist_ok=True)
    config.write(out / "config.json")
    torch.manual_seed(config.seed)
    model = SiamMask(config.network)
    if start is not None:
        _start_from(model, start)
    elif backbone is not None:
        load_imagenet_resnet18(model, backbone)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    model.train()
    run = _Run(config, model, out)
    run.resume()
    dataset = BatchDataset(
        store,
        labeller=Labeller(config.network.variant),
        rules=config.pairs,
        held_out=frozenset(config.held_out),
        batch_size=config.batch_size,
        seed=config.seed,
        length=config.steps or 1_000_000,
    )
    saved = time.monotonic()
    for batch in batches(dataset, start=run.step, workers=config.workers):
        if run.progress() >= 1:
            break
        losses = run.learn(batch)
        if run.step % _LOG_EVERY == 0:
            say(run.log(losses))
        if time.monotonic() - saved > config.checkpoint_minutes * 60:
            run.save()
            saved = time.monotonic()
    run.save()
    return run.averaged.model


def _start_from(model: SiamMask, path: Path) -> None:
    loaded = load_weights(path).model
    if loaded.config != model.config:
        raise ValueError(
            f"{path}: holds the network {loaded.config.to_json()}, this run trains {model.config.to_json()}"
        )
    model.load_state_dict(loaded.state_dict())


class _Run:
    """What changes over a run: step, elapsed time, weights, optimiser."""

    def __init__(self, config: TrainingConfig, model: SiamMask, out: Path) -> None:
        self.config, self.model, self.out = config, model, out
        self.optimizer = make_optimizer(model, config)
        self.averaged = AveragedModel(model, config.average)
        self.step = 0
        self._before = 0.0
        self._started = self._mark = time.monotonic()
        self._waited = 0.0
        self._ready = self._started
        self._rate = 0.0

    def seconds(self) -> float:
        """Wall time spent in all, over every resumption."""
        return self._before + time.monotonic() - self._started

    def progress(self) -> float:
        if self.config.steps:
            return self.step / self.config.steps
        return self.seconds() / (self.config.minutes * 60)

    def learn(self, batch: Any) -> StepLosses:
        self._waited += time.monotonic() - self._ready
        self._rate = apply_schedule(self.optimizer, self.progress(), self.config)
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + self.step)
        negatives = negative_partners(batch.group, generator) if self.config.negative_pairs else None
        losses = batch_losses(self.model, batch, self.config.weights, negatives=negatives)
        if not torch.isfinite(losses.total):
            raise FloatingPointError(f"the loss is {losses.total.item()} at step {self.step}: lower the learning rate")
        self.optimizer.zero_grad(set_to_none=True)
        losses.total.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        self.optimizer.step()
        self.step += 1
        self.averaged.update(self.model, self.step)
        self._ready = time.monotonic()
        return losses

    def log(self, losses: StepLosses) -> str:
        """Append a line to the CSV and return one to read."""
        now = time.monotonic()
        span = max(1e-9, now - self._mark)
        row: dict[str, float] = {
            "step": self.step,
            "seconds": round(self.seconds(), 1),
            "rate": self._rate,
            "pairs_per_s": round(_LOG_EVERY * self.config.batch_size / span, 2),
            "data_share": round(self._waited / span, 3),
            **{name: round(value.item(), 5) for name, value in losses._asdict().items()},
        }
        self._mark, self._waited = now, 0.0
        path = self.out / LOG
        fresh = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, _COLUMNS)
            if fresh:
                writer.writeheader()
            writer.writerow(row)
        return " ".join(f"{name}={value:.5g}" for name, value in row.items())

    def save(self) -> None:
        """Write the checkpoint and the averaged weights, each by renaming a whole file."""
        state = {
            "model": self.model.state_dict(),
            "averaged": self.averaged.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds(),
        }
        partial = self.out / (CHECKPOINT + ".partial")
        torch.save(state, partial)
        partial.replace(self.out / CHECKPOINT)
        partial = self.out / ("partial-" + WEIGHTS)
        save_weights(partial, self.averaged.model, metadata={"steps": self.step})
        partial.replace(self.out / WEIGHTS)

    def resume(self) -> None:
        """Take up the checkpoint of `out`, when there is one."""
        path = self.out / CHECKPOINT
        if not path.exists():
            return
        state = torch.load(path, map_location="cpu", weights_only=True)
        self.model.load_state_dict(state["model"])
        self.averaged.model.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self._before = int(state["step"]), float(state["seconds"])
        self._started = self._mark = self._ready = time.monotonic()
