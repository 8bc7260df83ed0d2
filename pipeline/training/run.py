"""A training run on Ray Train: checked once, placed on the cluster, run, and summed up in a line."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from typing import TYPE_CHECKING

from pipeline import storage
from pipeline.cluster.connect import connect
from pipeline.cluster.ray_private import quiet_trainer
from pipeline.errors import UsageError
from pipeline.job import FAILED, FINISHED, print_error, run_job, take_signals_again
from pipeline.training.held_out import check_held_out
from pipeline.training.place import place
from pipeline.training.sets import check_set
from pipeline.training.start_weights import check_weights
from pipeline.training.worker import SETTINGS, Task, work

if TYPE_CHECKING:
    import ray.train

    from model.training.config import TrainingConfig

_RUN = "checkpoints"


def train(task: Task, config: TrainingConfig, *, workers: int, max_failures: int) -> int:
    """Train, or go on with the run that `task.output` holds; returns the exit status.

    Args:
        task: what every worker is told; `cpus` 0 and `device` "auto" are filled in here.
        config: settings of the run.
        workers: how many; 0 is one a GPU, or one without.
        max_failures: how often workers that died are started again.

    Raises:
        UsageError: the data, the weights, the output or the cluster cannot be used.
    """
    _check(task, config)

    def work_on_cluster() -> int:
        connect()
        take_signals_again()
        return _fit(*place(task, config, workers), config, max_failures)

    return run_job(
        work_on_cluster,
        interrupted="{signal}: ended; the same command goes on from the last checkpoint",
        log_level=logging.WARNING,
    )


def _check(task: Task, config: TrainingConfig) -> None:
    """Find out before any work starts what could not work."""
    from model.training.origin import check_same_origin

    if bool(task.data) == bool(task.store):
        raise UsageError("give --data, or --store for one that every node has, and not both")
    for uri in task.data:
        check_set(uri)
    if config.validate_steps and not task.data:
        raise UsageError("--validate-every needs --data: validation tracks the held-out sequences of those sets")
    if config.validate_steps:
        check_held_out(task.data, config.held_out, task.split, "--held-out")
    check_weights(config, start=task.start, backbone=task.backbone)
    try:
        settings = storage.join(task.output, SETTINGS)
        if storage.exists(settings):
            recorded = storage.read_bytes(settings).decode()
            config.check_resumes(recorded, task.output)
            check_same_origin(json.loads(recorded), start=task.start, backbone=task.backbone, where=task.output)
        storage.check_writable(task.output)
    except storage.StorageError as error:
        raise UsageError(f"--output: {error}") from error
    except ValueError as error:
        raise UsageError(f"--output {error}") from error


def _fit(task: Task, workers: int, config: TrainingConfig, max_failures: int) -> int:
    import ray.train
    from ray.train.torch import TorchTrainer

    filesystem, path = storage.filesystem_for(task.output)
    resources: dict[str, float] = {"CPU": task.cpus}
    if task.device == "cuda":
        resources["GPU"] = 1
    print(f"{workers} workers on {task.device} with {task.cpus} CPUs each; {config.steps} steps", flush=True)
    trainer = quiet_trainer(TorchTrainer)(
        work,
        train_loop_config=asdict(task),
        scaling_config=ray.train.ScalingConfig(
            num_workers=workers, use_gpu=task.device == "cuda", resources_per_worker=resources
        ),
        run_config=ray.train.RunConfig(
            name=_RUN,
            storage_path=path,
            storage_filesystem=filesystem,
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=2),
            failure_config=ray.train.FailureConfig(max_failures=max_failures),
        ),
    )
    try:
        result = trainer.fit()
    except ray.train.TrainingFailedError as error:
        print_error(_cause(error))
        return FAILED
    if result.return_value:
        print_error(result.return_value)
        return FAILED
    print(_summary(result, task.output), flush=True)
    return FINISHED


def _cause(error: ray.train.TrainingFailedError) -> str:
    failures = getattr(error, "worker_failures", None) or {}
    first = next(iter(failures.values()), error)
    return f"training ended: {type(first).__name__}: {str(first).strip().splitlines()[-1] if str(first) else ''}"


def _summary(result: ray.train.Result, output: str) -> str:
    row = result.metrics or {}
    parts = [f"step {row['step']}" if "step" in row else "nothing was left to train"]
    if "total" in row:
        parts.append(f"loss {row['total']:.3f}")
    parts += [f"J {row['validation_j']:.3f} on held-out sequences"] if "validation_j" in row else []
    if "total" in row:
        parts.append(f"{row['pairs_per_s']:.1f} pairs/s, {row['data_share']:.0%} of the time spent on data")
    return f"{', '.join(parts)}: {storage.join(output, 'weights.safetensors')}"
