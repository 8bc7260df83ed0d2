"""How work is spread over what a cluster has."""

import pytest

from pipeline.cluster.nodes import Cluster, Node
from pipeline.errors import UsageError
from pipeline.plan.options import ActorCount, SegmentOptions, parse_labels
from pipeline.plan.placement import Work, place


def _options(**changes: object) -> SegmentOptions:
    return SegmentOptions(manifest="m.jsonl", output="out", **changes)  # type: ignore[arg-type]


def _cluster(cpus: float, gpus: float = 0, **more: object) -> Cluster:
    return Cluster((Node(cpus, gpus, **more),))  # type: ignore[arg-type]


@pytest.mark.parametrize("cpus", [1, 2, 3, 4, 7, 16, 64])
@pytest.mark.parametrize("gpus", [0, 1, 8])
@pytest.mark.parametrize("actors", [None, ActorCount(1, 1), ActorCount(2, 4)])
@pytest.mark.parametrize("cpu_nodes", [0, 1, 3])
def test_all_claims_fit_together_at_any_size(cpus: int, gpus: int, actors: ActorCount | None, cpu_nodes: int) -> None:
    if gpus and actors and actors.minimum > gpus:
        pytest.skip("refused, as another test shows")
    nodes = Cluster((Node(0.0), Node(cpus, gpus), Node(cpus, now=cpu_nodes, most=cpu_nodes)))
    placed = place(_options(actors=actors), nodes)
    tasks = placed.actors.maximum * placed.calls * placed.lanes
    claimed = placed.actors.maximum * placed.actor_cpus + tasks * placed.decode_cpus
    assert claimed <= nodes.cpus
    if claimed:
        assert claimed <= nodes.cpus - 1  # one for Ray Data's read task
    if gpus:
        assert placed.actors.maximum * placed.actor_cpus <= cpus  # on the node that has the GPUs
    assert placed.decode_cpus in (0.0, 0.03125, 0.0625, 0.125, 0.25, 0.5, 1.0)
    assert placed.lanes >= 1
    assert placed.threads >= 1


@pytest.mark.parametrize(
    ("cpus", "gpus", "count", "device"),
    [(1, 0, 1, "cpu"), (2, 0, 1, "cpu"), (8, 0, 4, "cpu"), (16, 2, 2, "cuda")],
)
def test_one_actor_a_gpu_or_a_cpu_pair(cpus: int, gpus: int, count: int, device: str) -> None:
    placed = place(_options(), _cluster(cpus, gpus))
    assert (placed.device, placed.actors) == (device, ActorCount(count, count))


def test_several_actors_share_a_gpu() -> None:
    placed = place(_options(gpus_per_actor=0.25), _cluster(32, 2))
    assert (placed.actors.maximum, placed.actor_gpus) == (8, 0.25)
    assert place(_options(gpus_per_actor=0.4), _cluster(32, 2)).actors.maximum == 4  # two on each, never across


@pytest.mark.parametrize(
    ("cpus", "gpus", "changes", "lanes", "decode_cpus"),
    [
        (16, 1, {}, 7, 1.0),
        (96, 8, {}, 5, 1.0),
        (96, 1, {}, 32, 1.0),  # as many as make a batch of 64
        (96, 1, {"max_tracks": 128}, 47, 1.0),
        (96, 1, {"max_tracks": 1}, 1, 1.0),
        (16, 1, {"gpus_per_actor": 0.25}, 4, 0.25),  # eight clips an actor, which was two
        (96, 8, {"gpus_per_actor": 0.25}, 4, 0.125),
        (4, 1, {}, 4, 0.25),
        (2, 1, {}, 1, 0.0),
        (96, 1, {"store": 1 << 30}, 19, 1.0),
    ],
)
def test_lanes_follow_cpus_batch_and_memory(
    cpus: int, gpus: int, changes: dict[str, float], lanes: int, decode_cpus: float
) -> None:
    cluster = _cluster(cpus, gpus, object_store=changes.pop("store", 0))
    placed = place(_options(**changes), cluster)
    assert (placed.lanes, placed.decode_cpus) == (lanes, decode_cpus)


@pytest.mark.parametrize(
    ("cpus", "work", "changes", "calls"),
    [
        (2, (16, 16, 1600), {}, 8),  # sixteen clips of one object: a batch for each of two threads
        (2, (16, 32, 1600), {}, 4),
        (2, (16, 48, 1600), {}, 3),
        (2, (1000, 8000, 99999), {}, 2),
        (2, (6, 6, 6000), {}, 3),  # two clips a decoder, or it is not worth its start
        (2, (16, 16, 320), {}, 3),  # and a hundred frames
        (2, (1, 1, 9999), {}, 2),
        (2, None, {}, 2),
        (16, (64, 64, 9999), {}, 4),  # eight actors
        (2, (1000, 1000, 99999), {"max_tracks": 1}, 2),
        (2, (1000, 1000, 99999), {"max_tracks": 4}, 4),
        (2, (1000, 1000, 99999), {"store": 1 << 30}, 3),  # a gigabyte for decoders beside it
        (16, (1000, 1000, 99999), {"gpus": 1}, 2),  # has lanes
    ],
)
def test_clips_of_few_objects_come_together_for_a_batch(
    cpus: int, work: tuple[int, int, int] | None, changes: dict[str, int], calls: int
) -> None:
    cluster = _cluster(cpus, changes.pop("gpus", 0), object_store=changes.pop("store", 0))
    placed = place(_options(**changes), cluster, work=None if work is None else Work(*work))
    assert placed.calls == calls
    claimed = placed.actors.maximum * (placed.actor_cpus + placed.calls * placed.lanes * placed.decode_cpus)
    assert claimed <= max(0, cpus - 1)
    assert placed.chunk_bytes == 32 << 20 or placed.chunk_bytes * placed.overlapping_calls * 4 <= 1 << 30


@pytest.mark.parametrize("gpus", [0, 1])
def test_each_track_is_by_itself_where_nothing_may_depend_on_load(gpus: int) -> None:
    placed = place(_options(deterministic=True), _cluster(16, gpus), work=Work(100, 100, 9999))
    assert placed.deterministic and placed.max_tracks == 1 and placed.calls * placed.lanes == 2
    assert not place(_options(), _cluster(16, gpus)).deterministic
    with pytest.raises(UsageError, match="--deterministic and --compile"):
        _options(deterministic=True, compile=True)
    with pytest.raises(UsageError, match="--deterministic and --max-tracks 4"):
        _options(deterministic=True, max_tracks=4)


def test_a_step_is_compiled_only_where_asked() -> None:
    assert not place(_options(), _cluster(2)).compiled
    assert place(_options(compile=True), _cluster(2)).compiled


def test_an_autoscaler_counts_as_what_it_may_add() -> None:
    placed = place(_options(), Cluster((Node(0), Node(8, 1, now=0, most=4), Node(16, now=0, most=2))))
    assert (placed.device, placed.actors) == ("cuda", ActorCount(1, 4))
    # The claims are those of the whole cluster to come: they are what makes the autoscaler add it.
    assert (placed.actor_cpus, placed.decode_cpus, placed.lanes) == (1.0, 1.0, 7)


def test_actors_are_held_to_the_nodes_of_their_labels() -> None:
    cluster = Cluster((Node(0), Node(4, labels={"ray.io/node-group": "gpu"}), Node(16, labels={"kind": "cpu"})))
    placed = place(_options(device="cpu", actor_nodes=(("ray.io/node-group", "gpu"),)), cluster)
    assert placed.actors == ActorCount(2, 2)  # a pair of that node's CPUs each; the other node decodes
    assert placed.actor_labels == {"ray.io/node-group": "gpu"}
    assert (placed.threads, placed.decode_cpus) == (2, 1.0)


@pytest.mark.parametrize("store", [0, 1 << 28, 1 << 30, 64 << 30])
@pytest.mark.parametrize(("cpus", "gpus"), [(2, 0), (16, 1), (64, 8)])
def test_frames_in_flight_fit_the_object_store(store: int, cpus: int, gpus: int) -> None:
    placed = place(_options(), _cluster(cpus, gpus, object_store=store))
    in_flight = placed.chunk_bytes * placed.overlapping_calls * placed.lanes * 4
    assert placed.chunk_bytes == 32 << 20 if store in (0, 64 << 30) else in_flight <= store


@pytest.mark.parametrize(
    ("changes", "cluster", "message"),
    [
        ({"device": "cuda"}, _cluster(8), "no GPUs and no autoscaler"),
        ({"device": "cuda"}, _cluster(8, 0.5), "0.5 GPUs, at most 0.5 on a node, and can never fit one actor"),
        ({"actors": ActorCount(3, 3)}, _cluster(8, 2), "room for 2"),
        ({"actors": ActorCount(9, 9)}, _cluster(8, 2, now=1, most=4), "room for 8"),
        ({"actor_nodes": (("pool", "a"),)}, _cluster(8, labels={"pool": "b"}), "pool=a: .* it has pool=b"),
        ({"device": "cuda", "actor_nodes": (("pool", "b"),)}, _cluster(8, labels={"pool": "b"}), "--actor-nodes"),
        ({}, _cluster(0), "no CPUs"),
    ],
)
def test_what_can_never_fit_is_refused(changes: dict[str, object], cluster: Cluster, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        place(_options(**changes), cluster)


def test_what_may_come_unseen_is_not_refused() -> None:
    growing = Cluster((Node(0),), growth_unknown=True)
    placed = place(_options(device="cuda", actors=ActorCount(4, 4)), growing)
    assert (placed.device, placed.actors.maximum) == ("cuda", 4)


@pytest.mark.parametrize("text", ["gpu", "=gpu", "pool=", "a=b,c"])
def test_labels_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="expected KEY=VALUE"):
        parse_labels(text)


@pytest.mark.parametrize("text", ["0", "a", "2:1", "1:2:3", "-1", ""])
def test_actor_counts_that_make_no_sense(text: str) -> None:
    with pytest.raises(UsageError, match="--actors"):
        ActorCount.parse(text)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("stride", 0),
        ("max_failed", 1.5),
        ("max_corrupt", -0.1),
        ("device", "tpu"),
        ("precision", "int4"),
        ("clips_per_file", 0),
        ("gpus_per_actor", 1.5),
        ("gpus_per_actor", 2.0),
        ("gpus_per_actor", 0),
        ("device_timeout", 0),
        ("limit", 0),
        ("commit_every", 0),
    ],
)
def test_an_option_out_of_range_is_named(name: str, value: object) -> None:
    with pytest.raises(UsageError, match=f"--{name.replace('_', '-')} {value}"):
        _options(**{name: value})
