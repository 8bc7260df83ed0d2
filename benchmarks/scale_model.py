"""A run as a queue: shards, a driver that hands them out, actors that work on them. Computed, not measured.

The stages take the times that were measured on one machine; what no machine here has, such as 512 GPUs, comes from the
queue alone.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass

CALLS = 2  # shards that one actor works on at once, as in pipeline.plan.placement


@dataclass(frozen=True, slots=True)
class Rates:
    """What one machine does, measured by `benchmarks.scale_rates` or given.

    Attributes:
        track_frames: track-frames/s of one actor's engine with its batch full.
        decoded_frames: frames/s that one CPU decodes.
        finished_masks: masks/s that one CPU cuts the windows for and finishes, to box and run lengths.
        store_bytes: bytes/s that one CPU hands over through a node's object store.
        dispatch_s: driver's time for one shard, Ray Data's and ours.
        report_s: control room's time for one actor's report, of which there is one a second.
        commit_s: an actor's time for the two objects of a shard.
        list_s: time to list one object of the output.
        read_part_s: time to read one clips part, at the start of a resumed run and at the end of each.
        plan_clip_s: driver's time to check and plan one clip of the manifest.
    """

    track_frames: float
    decoded_frames: float
    finished_masks: float
    store_bytes: float
    dispatch_s: float
    report_s: float
    commit_s: float
    list_s: float
    read_part_s: float
    plan_clip_s: float


@dataclass(frozen=True, slots=True)
class Corpus:
    """Clips of one length.

    Attributes:
        frames: of a clip.
        objects: of a clip.
        frame_bytes: of a decoded frame.
    """

    clips: int
    frames: int
    objects: int
    frame_bytes: int
    clips_per_file: int = 32


@dataclass(frozen=True, slots=True)
class Cluster:
    """What an actor has beside its GPU: CPUs that decode for it."""

    cpus_per_gpu: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run on so many GPUs takes.

    Attributes:
        hours: wall time.
        efficiency: one GPU's time over GPUs times this one.
        driver_busy: share of the working time in which the driver hands out shards.
        control_busy: share in which the control room takes reports.
        edges_s: seconds before and after the work, in which the driver plans, lists and reads.
        limit: what is nearest to its limit, or "tracking".
    """

    gpus: int
    hours: float
    efficiency: float
    driver_busy: float
    control_busy: float
    edges_s: float
    limit: str


def stage_rates(rates: Rates, corpus: Corpus, cluster: Cluster) -> dict[str, float]:
    """Frames/s that each stage of one actor allows.

    The CPUs beside a GPU decode frames, hand them over, cut the windows of each object and finish its masks; one is for
    Python itself. What the node's memory allows is not in it.
    """
    frame_s = 1 / rates.decoded_frames + corpus.frame_bytes / rates.store_bytes + corpus.objects / rates.finished_masks
    return {"tracking": rates.track_frames / corpus.objects, "CPUs": (cluster.cpus_per_gpu - 1) / frame_s}


def actor_rate(rates: Rates, corpus: Corpus, cluster: Cluster) -> tuple[float, str]:
    """Frames/s of one actor, and which stage allows no more."""
    stages = stage_rates(rates, corpus, cluster)
    limit = min(stages, key=stages.__getitem__)
    return stages[limit], limit


def simulate(gpus: int, rates: Rates, corpus: Corpus, cluster: Cluster) -> Outcome:
    """Run the shards of a corpus through so many actors, event by event.

    A call is handed out when one of an actor's two places is free, by a driver that does one at a time. Two calls of
    an actor share its engine; a commit goes on beside the other call.
    """
    frames_a_second, limit = actor_rate(rates, corpus, cluster)
    size = max(1, min(corpus.clips_per_file, -(-corpus.clips // (4 * CALLS * gpus))))
    shards = -(-corpus.clips // size)
    work_s = size * corpus.frames / frames_a_second
    places = [(0.0, actor) for actor in range(gpus) for _ in range(CALLS)]
    heapq.heapify(places)
    engines = [0.0] * gpus  # when each has done the work it was given
    driver = end = 0.0
    for _ in range(shards):
        free, actor = heapq.heappop(places)
        driver = max(driver, free) + rates.dispatch_s
        engines[actor] = max(engines[actor], driver) + work_s
        done = engines[actor] + rates.commit_s
        end = max(end, done)
        heapq.heappush(places, (done, actor))
    edges = corpus.clips * rates.plan_clip_s + shards * (2 * rates.list_s + rates.read_part_s)
    alone = corpus.clips * corpus.frames / frames_a_second
    busy = {"driver": shards * rates.dispatch_s / end, "control room": gpus * rates.report_s}
    nearest = max(busy, key=lambda name: busy[name])
    if busy[nearest] > 0.9:
        limit = nearest
    elif edges > 0.1 * end:
        limit = "plan, listing, reading"
    total = end + edges
    return Outcome(gpus, total / 3600, alone / (gpus * total), busy["driver"], busy["control room"], edges, limit)


def most_gpus(rates: Rates, corpus: Corpus, cluster: Cluster) -> dict[str, float]:
    """How many GPUs the driver and the control room can serve: where each is busy all the time."""
    frames_a_second, _ = actor_rate(rates, corpus, cluster)
    work_s = corpus.clips_per_file * corpus.frames / frames_a_second
    costs = {"driver": rates.dispatch_s / work_s, "control room": rates.report_s}
    return {name: 1 / cost if cost else math.inf for name, cost in costs.items()}
