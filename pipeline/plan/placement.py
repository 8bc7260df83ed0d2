"""Where a run's work goes: how many tracker actors, on which nodes and device, with which share of CPUs for decoding.

Claims are sized so that actors and decode tasks always fit together, on a machine of one core too: a claim
that can never be met would hang the job.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.cluster.nodes import Cluster, Node, observe_cluster
from pipeline.errors import UsageError
from pipeline.plan.options import ActorCount, SegmentOptions

__all__ = ["Cluster", "Node", "Placement", "Work", "observe_cluster", "place"]

CALLS_PER_ACTOR = 2
_MOST_CALLS = 8
"""So many shards does an actor of CPUs work on at once where clips have one object, for its batches to be filled."""
_CLIPS_A_CALL, _FRAMES_A_CALL = 2, 100  # fewer, and its decode worker is not worth the start
_DECODER_BYTES = 300 << 20  # a decode worker with what it has staged, about
CHUNKS_A_LANE = 4  # one in the making, two ahead, one in use
_ENOUGH_LANES = 4
"""So many clips a call are decoded at once, each by a part of a CPU, where there are fewer CPUs than that."""
_DEFAULT_TRACKS = {"cpu": 8, "cuda": 64}
# Parts of a CPU that add up to one, so that the claims fill a node without a remainder.
_DECODE_CPUS = (1.0, 0.5, 0.25, 0.125, 0.0625, 0.03125)
_LEAST_CLAIM = 0.125  # of a decode task beside a GPU, which needs what it decodes soon
_CHUNK_BYTES, _GOOD_CHUNK_BYTES, _LEAST_CHUNK_BYTES = 32 << 20, 4 << 20, 1 << 20
_CHUNKS_SHARE = 0.6  # of an object store; the rest is for Ray Data's blocks and the weights


@dataclass(frozen=True, slots=True)
class Work:
    """All that a manifest asks for: clips, objects, and frames of clips, at least."""

    clips: int
    objects: int
    frames: int


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
        compiled: whether an actor compiles its network's step.
        deterministic: whether it computes each track by itself, and by nothing measured.
        chunk_bytes: most bytes of frames that a decode task hands over at a time.
        actor_labels: Ray labels of the nodes that actors are held to.
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
    compiled: bool
    deterministic: bool
    chunk_bytes: int
    actor_labels: Mapping[str, str]

    @property
    def overlapping_calls(self) -> int:
        """Shards in progress at once when every actor is up."""
        return self.actors.maximum * self.calls


def place(options: SegmentOptions, cluster: Cluster, *, work: Work | None = None) -> Placement:
    """Decide the placement of a run.

    Args:
        work: how much there is to do, where that is known.

    Raises:
        UsageError: the cluster can never fit what was asked; the message says what it has.
    """
    if not cluster.cpus and not cluster.growth_unknown:
        raise UsageError("the cluster has no CPUs for Ray to hand out, and reading the plan takes one: add a worker")
    labels = dict(options.actor_nodes)
    hosts = cluster.only(labels)
    if labels and not hosts.nodes and not cluster.growth_unknown:
        asked = ",".join(f"{key}={value}" for key, value in labels.items())
        raise UsageError(f"--actor-nodes {asked}: no node of the cluster has these labels; it has {_known(cluster)}")
    device = _device(options, hosts)
    gpus = options.gpus_per_actor if device == "cuda" else 0.0
    now, fits = _room(hosts, gpus, now=True), _room(hosts, gpus)
    if device == "cuda":
        actors = _on_gpus(options, hosts, now, fits)
    else:
        actors = options.actors or ActorCount(max(1, now), max(1, now, fits))
    share = cluster.cpus / actors.maximum
    actor_cpus = 1.0 if share >= 2 and _room(hosts, gpus, cpus=1.0) >= actors.maximum else 0.0
    free = cluster.cpus - actors.maximum * actor_cpus - 1  # one is left for Ray Data's own read task
    max_tracks = 1 if options.deterministic else options.max_tracks or _DEFAULT_TRACKS[device]
    calls = CALLS_PER_ACTOR
    if device == "cpu" and work is not None:
        calls = _calls(hosts, actors.maximum, max_tracks, work)
    lanes = _lanes(hosts, gpus, actors.maximum, free, max_tracks) if device == "cuda" else 1
    return Placement(
        device=device,
        actors=actors,
        actor_cpus=actor_cpus,
        actor_gpus=gpus,
        calls=calls,
        lanes=lanes,
        decode_cpus=next((claim for claim in _DECODE_CPUS if actors.maximum * calls * lanes * claim <= free), 0.0),
        threads=max(1, int(min(share, hosts.cpus / actors.maximum))),
        max_tracks=max_tracks,
        compiled=options.compile,
        deterministic=options.deterministic,
        chunk_bytes=_chunk_bytes(hosts, gpus, actors.maximum, calls * lanes),
        actor_labels=labels,
    )


def _device(options: SegmentOptions, hosts: Cluster) -> Literal["cpu", "cuda"]:
    if options.device == "cuda" and not hosts.gpus and not hosts.growth_unknown:
        where = " on the nodes of --actor-nodes" if options.actor_nodes else ""
        raise UsageError(f"--device cuda: the cluster has no GPUs{where} and no autoscaler that could add one")
    if options.device == "auto":
        return "cuda" if hosts.gpus else "cpu"
    return options.device


def _on_gpus(options: SegmentOptions, hosts: Cluster, now: int, fits: int) -> ActorCount:
    """The actors on GPUs: those asked for, else one for each room there is, up to what there can be."""
    each = options.gpus_per_actor
    if hosts.growth_unknown:
        return options.actors or ActorCount(max(1, now), max(1, now))
    if fits < 1:
        largest = max(node.gpus for node in hosts.nodes)
        raise UsageError(
            f"--gpus-per-actor {each:g}: the cluster has {hosts.gpus:g} GPUs, at most {largest:g} on a node, "
            "and can never fit one actor"
        )
    actors = options.actors or ActorCount(max(1, now), max(1, fits))
    if actors.minimum > fits:
        raise UsageError(f"--actors {actors.minimum}: the cluster has room for {fits} with {each:g} GPUs each")
    return actors


def _room(hosts: Cluster, gpus: float, *, cpus: float = 0.0, now: bool = False) -> int:
    """How many actors the nodes have room for; one without GPUs takes a pair of CPUs."""
    return sum(_node_room(node, gpus, cpus) * (node.now if now else node.most) for node in hosts.nodes)


def _node_room(node: Node, gpus: float, cpus: float = 0.0) -> int:
    """How many actors fit on a node; one that takes a part of a GPU takes it of a single one."""
    if not gpus:
        return int(node.cpus / cpus) if cpus else int(node.cpus) // 2
    room = int(node.gpus) * int(1 / gpus + 1e-9) if gpus < 1 else int(node.gpus / gpus)
    return min(room, int(node.cpus / cpus)) if cpus else room


def _calls(hosts: Cluster, actors: int, max_tracks: int, work: Work) -> int:
    """Shards that an actor of CPUs works on at once: as many as give a full batch of tracks, where memory allows."""
    by_tracks = -(-max_tracks * work.clips // max(1, work.objects))
    by_work = min(work.clips // (actors * _CLIPS_A_CALL), work.frames // (actors * _FRAMES_A_CALL))
    # An object store has, unless told otherwise, three tenths of a node's memory: as much may decode workers have.
    by_memory = min(
        (
            int(node.object_store / (room * _DECODER_BYTES))
            for node in hosts.nodes
            if node.object_store and (room := min(actors, _node_room(node, 0.0)))
        ),
        default=_MOST_CALLS,
    )
    return max(CALLS_PER_ACTOR, min(by_tracks, by_work, by_memory, _MOST_CALLS))


def _lanes(hosts: Cluster, gpus: float, actors: int, free_cpus: float, max_tracks: int) -> int:
    """Clips that a call decodes at once: one a free CPU, or a few more, as many as a batch takes and memory holds."""
    calls = actors * CALLS_PER_ACTOR
    by_cpus = max(int(free_cpus / calls), min(_ENOUGH_LANES, int(free_cpus / calls / _LEAST_CLAIM)))
    by_memory = min(
        (
            int(node.object_store * _CHUNKS_SHARE / (room * CALLS_PER_ACTOR * CHUNKS_A_LANE * _GOOD_CHUNK_BYTES))
            for node in hosts.nodes
            if node.object_store and (room := min(actors, _node_room(node, gpus)))
        ),
        default=max_tracks,
    )
    return max(1, min(by_cpus, by_memory, max_tracks // CALLS_PER_ACTOR))


def _chunk_bytes(hosts: Cluster, gpus: float, actors: int, lanes: int) -> int:
    """Chunks of a size that the smallest object store beside an actor holds all those in flight."""
    chunk = _CHUNK_BYTES
    for node in hosts.nodes:
        if node.object_store and (room := min(actors, max(1, _node_room(node, gpus)))):
            chunk = min(chunk, int(node.object_store * _CHUNKS_SHARE / (room * lanes * CHUNKS_A_LANE)))
    return max(_LEAST_CHUNK_BYTES, chunk)


def _known(cluster: Cluster) -> str:
    """The labels that the nodes of a cluster have, for a message."""
    labels = sorted({f"{key}={value}" for node in cluster.nodes for key, value in node.labels.items()})
    return ", ".join(labels) or "none"


def actor_resources(placed: Placement, avoided_nodes: Sequence[str] = ()) -> dict[str, Any]:
    """What Ray is asked for a tracker actor, which is to be on none of the nodes with these ids."""
    resources: dict[str, Any] = {"num_cpus": placed.actor_cpus}
    if placed.actor_gpus:
        resources["num_gpus"] = placed.actor_gpus
    selector = dict(placed.actor_labels)
    if avoided_nodes:
        selector["ray.io/node-id"] = f"!in({','.join(avoided_nodes)})"
    if selector:
        resources["label_selector"] = selector
    return resources
