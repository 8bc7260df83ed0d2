"""The training loop: batches in, checkpoints, averaged weights and a record of the losses out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from model.network import SiamMask
from model.training.checkpoint import (
    BEST,
    WEIGHTS,
    Progress,
    load_checkpoint,
    save_checkpoint,
    write_weights,
)
from model.training.config import TrainingConfig
from model.training.data.batches import Batch, BatchDataset, batches
from model.training.history import History
from model.training.origin import starting_model, write_settings
from model.training.schedule import AveragedModel, apply_schedule, make_optimizer, trained_groups, training_mode
from model.training.step import LossCounts, StepLosses, TrainingStep, batch_counts, negative_partners
from model.training.workers import Workers

Validate = Callable[[SiamMask], Mapping[str, float]]
"""Tracks the held-out sequences with a model: their scores by name, `j` among them; called by every worker."""
OnCheckpoint = Callable[[Progress, Mapping[str, float]], None]
"""Called by every worker after the first has written a checkpoint, with the last logged row."""


def train(
    config: TrainingConfig,
    store: Path,
    out: Path,
    *,
    backbone: Path | None = None,
    start: Path | None = None,
    device: str = "cpu",
    validate: Validate | None = None,
    on_checkpoint: OnCheckpoint | None = None,
    say: Callable[[str], None] = print,
) -> SiamMask:
    """Train, or go on with what `out` holds, and return the averaged model.

    With a process group of torch every worker calls this with the same arguments and its own `device`; the first
    writes the files.

    Args:
        store: folder written by `model.training.data.training_store.write_store`.
        out: folder for checkpoint, weights, record and settings; made where absent.
        backbone, start: what a fresh start begins with (`starting_model`).
        validate: called every `config.validate_steps` steps and at the end; the weights of the best `j` are kept.
        on_checkpoint: called after each checkpoint.
        say: receives progress lines.

    Raises:
        FileNotFoundError: there is no store.
        ValueError: the store has no object to draw pairs from, a file to start from cannot be used, `out` holds another
            run, or the settings do not fit the workers.
        FloatingPointError: the loss is not finite; names the step.
    """
    workers = Workers.of_group()
    if workers.count > 1 and not config.steps:
        raise ValueError("several workers train for a number of steps, not for a time: set steps")
    length = config.steps or 1_000_000
    dataset = BatchDataset(store, config, length=length, part=workers.rank, parts=workers.count)
    dataset.check()
    out.mkdir(parents=True, exist_ok=True)
    model = starting_model(config, start=start, backbone=backbone)
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    with _repeatable(device):
        run = _TrainingRun(config, model, out, workers, validate, on_checkpoint, say)
        if workers.first:
            write_settings(config, out, resumed=run.progress.step > 0, start=start, backbone=backbone)
        try:
            run.learn_all(batches(dataset, start=run.progress.step, workers=config.workers, pin=device != "cpu"))
        finally:
            run.close()
    return run.averaged.model


@contextmanager
def _repeatable(device: str) -> Iterator[None]:
    """On a CPU, have the same steps give the same digits: without this, summing gradients of windows may not."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    filled = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    if device == "cpu":
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.utils.deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]


class _TrainingRun:
    """What changes over a run: progress, weights, optimiser, record."""

    def __init__(
        self,
        config: TrainingConfig,
        model: SiamMask,
        out: Path,
        workers: Workers,
        validate: Validate | None,
        on_checkpoint: OnCheckpoint | None,
        say: Callable[[str], None],
    ) -> None:
        self.config, self.model, self.out, self.workers = config, model, out, workers
        self._validate, self._on_checkpoint, self._say = validate, on_checkpoint, say
        self.optimizer = make_optimizer(model, config)
        self.averaged = AveragedModel(model, config.average)
        self.progress = load_checkpoint(out, config, model, self.averaged, self.optimizer) or Progress()
        if config.stage != "refine":
            workers.share_norms(model)
        training_mode(model, config)
        self._step = TrainingStep(model, config)
        self._shared: nn.Module | None = None
        self._shared_groups = -1
        self._history = History(out, self.progress.step) if workers.first else None
        self._before = self.progress.seconds
        self._started = self._mark = self._ready = self._saved = time.monotonic()
        self._waited = self._rate = 0.0
        self._since = self.progress.step
        self._row: dict[str, float] = {}

    def learn_all(self, source: Iterator[Batch]) -> None:
        """Learn batches to the end of the run, logging, validating and saving on the way."""
        if self.progress.step and self._share() >= 1:
            return
        for batch in source:
            if self._share() >= 1:
                break
            losses = self._learn(batch)
            step, due = self.progress.step, self.config.validate_steps
            if step % self.config.log_steps == 0:
                self._log(losses)
            if due and step % due == 0 and self._share() < 1:
                self._judge()
            if self._save_due() and self._share() < 1:
                self._save()
        if self.config.validate_steps:
            self._judge()
        self._save()

    def close(self) -> None:
        if self._history is not None:
            self._history.close()

    def _seconds(self) -> float:
        """Wall time spent in all, over every resumption."""
        return self._before + time.monotonic() - self._started

    def _share(self) -> float:
        """How much of the run is done, from 0 to 1."""
        if self.config.steps:
            return self.progress.step / self.config.steps
        return self._seconds() / (self.config.minutes * 60)

    def _save_due(self) -> bool:
        if self.config.checkpoint_steps:
            return self.progress.step % self.config.checkpoint_steps == 0
        # Clocks of several workers differ, and a checkpoint is taken by all of them together.
        late = time.monotonic() - self._saved > self.config.checkpoint_minutes * 60
        return late and self.workers.count == 1

    def _learn(self, batch: Batch) -> StepLosses:
        self._waited += time.monotonic() - self._ready
        config, step, share = self.config, self.progress.step, self._share()
        self._rate = apply_schedule(self.optimizer, share, config)
        groups = trained_groups(share, self.optimizer)
        if self._shared is None or groups != self._shared_groups:
            self._shared = None  # the old wrapper's hooks go first
            self._shared, self._shared_groups = self.workers.share(self._step), groups
        negatives = None
        if config.negative_pairs and config.stage != "refine":
            draw = config.seed * 1_000_003 + step + self.workers.rank * 7_919_000_033
            generator = torch.Generator().manual_seed(draw)
            negatives = negative_partners(batch.group, generator)
        counts = None
        if self.workers.count > 1:
            numbers = self.workers.mean(batch_counts(batch, negatives).to(self.model.device))
            counts = LossCounts(*torch.where(numbers > 0, numbers, 1.0))
        losses = self._shared(batch, negatives, counts)
        if not torch.isfinite(losses.total):
            raise FloatingPointError(f"the loss is {losses.total.item()} at step {step}: lower the learning rate")
        self.optimizer.zero_grad(set_to_none=True)
        losses.total.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.clip_norm)
        self.optimizer.step()
        self.progress.step += 1
        self.averaged.update(self.model, self.progress.step)
        self._ready = time.monotonic()
        return losses

    def _log(self, losses: StepLosses) -> None:
        """Record the losses of this step over all workers, and the speed since the last record."""
        values = self.workers.mean(torch.stack([value.detach().float() for value in losses]))
        now = time.monotonic()
        span = max(1e-9, now - self._mark)
        self._row = {
            "step": self.progress.step,
            "seconds": round(self._seconds(), 1),
            "rate": self._rate,
            "pairs_per_s": round((self.progress.step - self._since) * self.config.batch_size / span, 2),
            "data_share": round(self._waited / span, 3),
            **dict(zip(StepLosses._fields, map(float, values), strict=True)),
        }
        self._mark, self._waited, self._since = now, 0.0, self.progress.step
        if self._history is not None:
            self._history.losses(self._row)
            self._say(" ".join(f"{name}={value:.5g}" for name, value in self._row.items()))

    def _judge(self) -> None:
        """Track the held-out sequences with the averaged weights; keep the best."""
        if self._validate is None:
            return
        scores = self._validate(self.averaged.model)
        better = scores["j"] > self.progress.best_j
        self.progress.best_j = max(scores["j"], self.progress.best_j)
        if self._history is not None:
            self._history.validation({"step": self.progress.step, **scores})
            self._say(f"validation step={self.progress.step} j={scores['j']:.4f}{' (best)' if better else ''}")
            if better:
                write_weights(self.out / BEST, self.config, self.averaged, self.progress.step)
        self._row = {**self._row, "validation_j": scores["j"]}
        self._mark = self._ready = time.monotonic()
        self._waited, self._since = 0.0, self.progress.step

    def _save(self) -> None:
        self.progress.seconds = self._seconds()
        if self._history is not None:
            save_checkpoint(self.out, self.config, self.model, self.averaged, self.optimizer, self.progress)
            self._history.flush()
        if self._on_checkpoint is not None:
            self._on_checkpoint(self.progress, {"step": self.progress.step, **self._row})
        self._mark = self._ready = self._saved = time.monotonic()
        self._waited, self._since = 0.0, self.progress.step


__all__ = ["BEST", "WEIGHTS", "OnCheckpoint", "Progress", "Validate", "train"]
