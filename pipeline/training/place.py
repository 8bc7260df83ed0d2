"""Where training workers go: the device, how many there are, and the CPUs of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pipeline.errors import UsageError
from pipeline.training.worker import Task

if TYPE_CHECKING:
    from model.training.config import TrainingConfig


@dataclass(frozen=True, slots=True)
class NodeSize:
    """The CPUs and GPUs of a node."""

    cpus: int
    gpus: int = 0


def place(task: Task, config: TrainingConfig, workers: int) -> tuple[Task, int]:
    """The task with device and CPUs of a worker filled in, and the number of workers, on the cluster as it is.

    Raises:
        UsageError: so many workers do not fit on the nodes, or cannot share a batch.
    """
    import ray

    has = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    nodes = [NodeSize(int(resources.get("CPU", 0)), int(resources.get("GPU", 0))) for resources in has]
    gpus = sum(node.gpus for node in nodes)
    device = task.device if task.device != "auto" else ("cuda" if gpus else "cpu")
    on_gpus = device == "cuda"
    if on_gpus and gpus < max(1, workers):
        raise UsageError(f"--device cuda: {max(1, workers)} workers need a GPU each, the cluster has {gpus}")
    count = workers or (gpus if on_gpus else 1)
    if room(nodes, 1, on_gpus=on_gpus) < count:
        needs = "a GPU and a CPU of the same node" if on_gpus else "a CPU"
        raise UsageError(
            f"--workers {count}: each needs {needs}, the cluster has them for {room(nodes, 1, on_gpus=on_gpus)}"
        )
    if task.cpus and room(nodes, task.cpus, on_gpus=on_gpus) < count:
        fit = room(nodes, task.cpus, on_gpus=on_gpus)
        raise UsageError(f"--cpus-per-worker {task.cpus}: the nodes have room for {fit} such workers, not {count}")
    if config.batch_size % count or config.batch_size // count < 2:
        raise UsageError(f"--batch-size {config.batch_size}: {count} workers cannot share it with 2 pairs or more each")
    return replace(task, device=device, cpus=task.cpus or cpus_each(nodes, count, on_gpus=on_gpus)), count


def room(nodes: Sequence[NodeSize], share: int, *, on_gpus: bool) -> int:
    """How many workers of `share` CPUs, and a GPU each where `on_gpus`, the nodes hold."""
    fit = [(node.cpus // share, node.gpus) for node in nodes]
    return sum(min(cpus, gpus) if on_gpus else cpus for cpus, gpus in fit)


def cpus_each(nodes: Sequence[NodeSize], workers: int, *, on_gpus: bool) -> int:
    """The most CPUs that every worker can have, each on one node; 0 where they do not fit with one."""
    shares = range(max((node.cpus for node in nodes), default=0), 0, -1)
    return next((share for share in shares if room(nodes, share, on_gpus=on_gpus) >= workers), 0)
