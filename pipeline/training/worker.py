"""What one training worker does: get its data, take up the last checkpoint, train, report."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline import storage
from pipeline.training.cache import scratch
from pipeline.training.node_store import node_store
from pipeline.training.sets import local_set
from pipeline.training.start_weights import fetch_weights

if TYPE_CHECKING:
    from model.training.config import TrainingConfig
    from model.training.loop import Progress, Validate
    from model.training.workers import Workers

SETTINGS = "config.json"
# What a checkpoint carries and the output shows; the plot and TensorBoard's files are in the output alone.
_CARRIED = ("checkpoint.pt", "weights.safetensors", "best.safetensors", "losses.csv", "validation.csv", SETTINGS)
_SHOWN = ("weights.safetensors", "best.safetensors", "losses.csv", "validation.csv", "losses.png", SETTINGS)
_LONGEST_WAIT = timedelta(days=1)
_UNUSABLE = (ValueError, FileNotFoundError, storage.NotFound, storage.AccessDenied, storage.TooLarge)
_Got = TypeVar("_Got")


@dataclass(frozen=True, slots=True)
class Task:
    """What every worker is told.

    Attributes:
        config: settings of the run, as `TrainingConfig.to_json` gives them.
        data: URIs of the training sets.
        store: a store that every node has at this path, in place of `data`.
        output: URI of the run's folder.
        split, stride, longest_side: what of `data` goes into the store.
        start, backbone: URI of weights to start from, one of the two at most.
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


class Unusable(Exception):
    """The data cannot be used, which trying again would not change."""


def work(settings: dict[str, Any]) -> str | None:
    """The function that Ray Train runs in every worker: None, or what is wrong with the data.

    A fault that it raises has all workers started again; one that it returns does not.
    """
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
    first_of_node = ray.train.get_context().get_local_rank() == 0
    try:
        store, folders = got_by_one(lambda: _data(task, config), first=first_of_node, workers=workers)
    except Unusable as fault:
        return str(fault)
    validate = _validation(folders, config.held_out, task.split, device) if config.validate_steps else None
    with scratch(Path(task.cache)) as folder:
        _take_up(folder)

        def reported(progress: Progress, row: Mapping[str, float]) -> None:
            _report(folder, task, row, workers)

        start = fetch_weights(task.start, folder) if task.start else None
        backbone = fetch_weights(task.backbone, folder) if task.backbone else None
        train(
            config, store, folder, start=start, backbone=backbone, device=device, validate=validate,
            on_checkpoint=reported, say=_say,
        )  # fmt: skip
    return None


def _say(line: str) -> None:
    # Ray Train's own print would show the line twice.
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _data(task: Task, config: TrainingConfig) -> tuple[Path, list[Path]]:
    """The store on this node, and the folders of the sets with the held-out sequences where they are tracked."""
    cache = Path(task.cache)
    store = Path(task.store) if task.store else node_store(
        task.data, cache, split=task.split, stride=task.stride, longest_side=task.longest_side, say=_say
    )  # fmt: skip
    judged = task.data if config.validate_steps else ()
    return store, [local_set(uri, cache, task.split, config.held_out, say=_say) for uri in judged]


def got_by_one(get: Callable[[], _Got], *, first: bool, workers: Workers) -> _Got:
    """What `get` gives, after the `first` worker of each node has called it while the others wait, a day at most.

    They wait on a group of their own: in that of the training a worker that is silent for so long is a fault.

    Raises:
        Unusable: the data cannot be used, here or on another worker.
        RuntimeError: it failed in another way on another worker, with what that says; what it raises where it failed.
    """
    got: list[_Got] = []
    fault: Exception | None = None
    if first:
        try:
            got.append(get())
        except _UNUSABLE as error:
            fault = Unusable(str(error))
        except Exception as error:
            fault = error
    faults = _gathered(fault, workers)
    if fault is not None:
        raise fault
    if faults:
        raise faults[0]
    return got[0] if got else get()


def _gathered(fault: Exception | None, workers: Workers) -> list[Exception]:
    """The faults of all workers, each of which waits for the others."""
    if workers.count == 1:
        return [fault] if fault else []
    import torch.distributed as dist

    group = dist.new_group(backend="gloo", timeout=_LONGEST_WAIT)
    own_fault = None
    if fault is not None:
        unusable = isinstance(fault, Unusable)
        own_fault = unusable, str(fault) if unusable else f"{type(fault).__name__}: {fault}"
    faults: list[tuple[bool, str] | None] = [None] * workers.count
    dist.all_gather_object(faults, own_fault, group=group)
    dist.destroy_process_group(group)
    return [Unusable(text) if unusable else RuntimeError(text) for unusable, text in filter(None, faults)]


def _validation(folders: Sequence[Path], names: tuple[str, ...], split: str, device: str) -> Validate:
    from model.training.data.sources import find_sets
    from model.training.validate import held_out_sequences, tracking_validation

    sets = [data_set.folder for data_set in find_sets(folders) if data_set.table is None]
    return tracking_validation(held_out_sequences(sets, names, split), split=split, device=device)


def _take_up(folder: Path) -> None:
    """Put the last checkpoint that the run reported, if there is one, into the worker's folder."""
    import ray.train

    checkpoint = ray.train.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as source:
            shutil.copytree(source, folder, dirs_exist_ok=True)


def _report(folder: Path, task: Task, row: Mapping[str, float], workers: Workers) -> None:
    """Show the record in the output and hand the checkpoint to Ray Train, which stores it."""
    import ray.train

    if not workers.first:
        ray.train.report(dict(row), checkpoint=None)
        return
    settings = {**json.loads(task.config), "start": task.start, "backbone": task.backbone}
    (folder / SETTINGS).write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")
    for name in _SHOWN:
        if (folder / name).exists():
            storage.upload_file(folder / name, storage.join(task.output, name))
    for path in (folder / "tensorboard").glob("*"):
        storage.upload_file(path, storage.join(task.output, "tensorboard", path.name))
    with tempfile.TemporaryDirectory(prefix="checkpoint-", dir=folder) as whole:
        for name in _CARRIED:
            if (folder / name).exists():
                os.link(folder / name, Path(whole) / name)
        ray.train.report(dict(row), checkpoint=ray.train.Checkpoint.from_directory(whole))
