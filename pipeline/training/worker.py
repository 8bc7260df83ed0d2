"""What one training worker does: get its data, take up the last checkpoint, train, report."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import storage
from pipeline.training.data import local_set, node_store

if TYPE_CHECKING:
    from model.training.loop import Progress, Validate
    from model.training.workers import Workers

# What a checkpoint carries and the output shows; the plot and TensorBoard's files are in the output alone.
_CARRIED = ("checkpoint.pt", "weights.safetensors", "best.safetensors", "losses.csv", "validation.csv", "config.json")
_SHOWN = ("weights.safetensors", "best.safetensors", "losses.csv", "validation.csv", "losses.png")


@dataclass(frozen=True, slots=True)
class Task:
    """What every worker is told.

    Attributes:
        config: settings of the run, as `TrainingConfig.to_json` gives them.
        data: URIs of the training sets.
        store: a store that every node has at this path, in place of `data`.
        output: URI of the run's folder.
        split, stride, longest_side: what of `data` goes into the store.
        start, backbone: URIs of weights to start from.
        cache: folder of each node for sets and stores.
        cpus: what a worker claims.
        device: cpu or cuda.
    """

    config: str
    data: tuple[str, ...]
    store: str | None
    output: str
    split: str
    stride: int
    longest_side: int
    start: str | None
    backbone: str | None
    cache: str
    cpus: int
    device: str


def work(settings: dict[str, Any]) -> None:
    """The function that Ray Train runs in every worker."""
    import ray.train.torch
    import torch

    from model.training.config import TrainingConfig
    from model.training.loop import train
    from model.training.workers import Workers

    task = Task(**settings)
    config = TrainingConfig.from_json(task.config)
    workers = Workers.of_group()
    device = "cpu"
    if task.device == "cuda":
        device = str(ray.train.torch.get_device())
    torch.set_num_threads(max(1, task.cpus))
    with _folder(task) as folder:
        store = _store(task, workers)
        validate = _validation(task, config.held_out, device) if config.validate_steps else None
        _take_up(folder)

        def reported(progress: Progress, row: Mapping[str, float]) -> None:
            _report(folder, task.output, row, workers)

        train(
            config, store, folder, device=device, validate=validate, on_checkpoint=reported, say=_say,
            start=_fetched(task.start, folder), backbone=_fetched(task.backbone, folder),
        )  # fmt: skip


@contextlib.contextmanager
def _folder(task: Task) -> Iterator[Path]:
    """A worker's own folder for what it writes; gone when it ends."""
    Path(task.cache).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="worker-", dir=task.cache) as folder:
        yield Path(folder)


def _say(line: str) -> None:
    # Ray Train's own print would show the line twice.
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _store(task: Task, workers: Workers) -> Path:
    """The store, made by the first worker of each node while the others wait."""
    import ray.train
    import torch.distributed as dist

    if task.store:
        return Path(task.store)

    def get() -> Path:
        return node_store(
            task.data, Path(task.cache), split=task.split, stride=task.stride, longest_side=task.longest_side, say=_say
        )

    # All pass the barrier whether or not their node's store could be made, or those who wait would wait on.
    fault: Exception | None = None
    if ray.train.get_context().get_local_rank() == 0:
        try:
            get()
        except Exception as error:
            fault = error
    if workers.count > 1:
        dist.barrier()
    if fault is not None:
        raise fault
    return get()


def _validation(task: Task, names: tuple[str, ...], device: str) -> Validate:
    from model.training.sources import find_sets
    from model.training.validate import held_out_sequences, tracking_validation

    folders = [local_set(uri, Path(task.cache), task.split, names) for uri in task.data]
    sets = [one.folder for one in find_sets(folders) if one.table is None]
    return tracking_validation(held_out_sequences(sets, names, task.split), split=task.split, device=device)


def _fetched(uri: str | None, folder: Path) -> Path | None:
    """A weights file as a local one of the same name."""
    if uri is None:
        return None
    path = folder / "origin" / storage.name(uri)
    path.parent.mkdir(exist_ok=True)
    storage.download(uri, path)
    return path


def _take_up(folder: Path) -> None:
    """Put the last checkpoint that the run reported, if there is one, into the worker's folder."""
    import ray.train

    checkpoint = ray.train.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as found:
            shutil.copytree(found, folder, dirs_exist_ok=True)


def _report(folder: Path, output: str, row: Mapping[str, float], workers: Workers) -> None:
    """Show the record in the output and hand the checkpoint to Ray Train, which stores it."""
    import ray.train

    if not workers.first:
        ray.train.report(dict(row), checkpoint=None)
        return
    for name in _SHOWN:
        if (folder / name).exists():
            storage.upload_file(folder / name, storage.join(output, name))
    for path in (folder / "tensorboard").glob("*"):
        storage.upload_file(path, storage.join(output, "tensorboard", path.name))
    with tempfile.TemporaryDirectory(prefix="checkpoint-", dir=folder) as whole:
        for name in _CARRIED:
            if (folder / name).exists():
                os.link(folder / name, Path(whole) / name)
        ray.train.report(dict(row), checkpoint=ray.train.Checkpoint.from_directory(whole))
