"""Where a run's work goes: how many tracker actors, on which device, with which share of CPUs for decoding.

Claims are sized so that actors and decode tasks always fit together, on a machine of one core too: a claim
that can never be met would hang the job.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.options import ActorCount, SegmentOptions, UsageError

CALLS_PER_ACTOR = 2
_MAX_LANES = 8
_DEFAULT_TRACKS = {"cpu": 8, "cuda": 64}


@dataclass(frozen=True, slots=True)
class Cluster:
    """What the cluster has: CPUs and GPUs in all now, and the GPUs its autoscaler could bring it to."""

    cpus: float
    gpus: float
    gpus_possible: float = 0.0


@dataclass(frozen=True, slots=True)
class Placement:
    """How the work is spread.

    Attributes:
        device: where the networks run.
        actors: tracker actors.
        actor_cpus, actor_gpus: what one actor claims from Ray.
        calls: shards that one actor works on at once.
        lanes: clips that one call decodes at once.
        decode_cpus: what one decode task claims; 0 where claims would not fit.
        threads: threads that one actor's network may use on a CPU.
        max_tracks: tracks that one actor steps together.
    """

    device: Literal["cpu", "cuda"]
    actors: ActorCount
    actor_cpus: float
    actor_gpus: float
    calls: int
    lanes: int
    decode_cpus: float
    threads: int
    max_tracks: int

    @property
    def overlapping_calls(self) -> int:
        """Shards in progress at once when every actor is up."""
        return self.actors.maximum * self.calls


def place(options: SegmentOptions, cluster: Cluster) -> Placement:
    """Decide the placement of a run.

    Raises:
        UsageError: the cluster can never fit what was asked; the message says what it has.
    """
    device = _device(options, cluster)
    if device == "cuda":
        fits = _room(max(cluster.gpus, cluster.gpus_possible), options.gpus_per_actor)
        if fits < 1:
            raise UsageError(
                f"--gpus-per-actor {options.gpus_per_actor:g}: the cluster has "
                f"{max(cluster.gpus, cluster.gpus_possible):g} GPUs and can never fit one actor"
            )
        now = max(1, _room(cluster.gpus, options.gpus_per_actor))
        actors = options.actors or ActorCount(now, max(now, fits))
        if actors.minimum > fits:
            raise UsageError(
                f"--actors {actors.minimum}: the cluster has room for {fits} with {options.gpus_per_actor:g} GPUs each"
            )
    else:
        count = max(1, int(cluster.cpus) // 2)
        actors = options.actors or ActorCount(count, count)
    cpus_an_actor = cluster.cpus / actors.maximum
    lanes = max(1, min(_MAX_LANES, int(cpus_an_actor) // CALLS_PER_ACTOR)) if device == "cuda" else 1
    actor_cpus = 1.0 if cpus_an_actor >= 2 else 0.0
    return Placement(
        device=device,
        actors=actors,
        actor_cpus=actor_cpus,
        actor_gpus=options.gpus_per_actor if device == "cuda" else 0.0,
        calls=CALLS_PER_ACTOR,
        lanes=lanes,
        decode_cpus=_decode_cpus(cluster.cpus, actors.maximum, actor_cpus, lanes),
        threads=max(1, int(cpus_an_actor)),
        max_tracks=options.max_tracks or _DEFAULT_TRACKS[device],
    )


def observe_cluster() -> Cluster:
    """Read what the connected Ray cluster has, and what its autoscaler may add."""
    import ray
    from ray._private.state import state

    total = ray.cluster_resources()
    possible: dict[str, Any] = {}
    if hasattr(state, "get_max_resources_from_cluster_config"):
        possible = state.get_max_resources_from_cluster_config() or {}
    return Cluster(total.get("CPU", 0.0), total.get("GPU", 0.0), float(possible.get("GPU", 0.0)))


def _device(options: SegmentOptions, cluster: Cluster) -> Literal["cpu", "cuda"]:
    has_gpus = max(cluster.gpus, cluster.gpus_possible) > 0
    if options.device == "cuda" and not has_gpus:
        raise UsageError("--device cuda: the cluster has no GPUs and no autoscaler that could add one")
    if options.device == "auto":
        return "cuda" if has_gpus else "cpu"
    return options.device


def _room(gpus: float, each: float) -> int:
    """How many actors fit on so many GPUs; one that takes a part of a GPU takes it of a single one."""
    return int(gpus) * int(1 / each + 1e-9) if each < 1 else int(gpus / each)


def _decode_cpus(cpus: float, actors: int, actor_cpus: float, lanes: int) -> float:
    """The claim of one decode task, with one CPU left for Ray Data's own read task."""
    free = cpus - actors * actor_cpus - 1
    share = free / (actors * CALLS_PER_ACTOR * lanes)
    return 0.0 if share < 0.1 else min(1.0, math.floor(share * 100) / 100)
