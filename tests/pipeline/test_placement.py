"""How work is spread over what a cluster has."""

import pytest

from pipeline.options import ActorCount, SegmentOptions, UsageError
from pipeline.placement import Cluster, place


def _options(**changes: object) -> SegmentOptions:
    return SegmentOptions(manifest="m.jsonl", output="out", **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("cpus", [1, 2, 3, 4, 7, 16, 64])
@pytest.mark.parametrize("gpus", [0, 1, 8])
@pytest.mark.parametrize("actors", [None, ActorCount(1, 1), ActorCount(2, 4)])
def test_all_claims_fit_together_at_any_size(cpus: int, gpus: int, actors: ActorCount | None) -> None:
    if gpus and actors and actors.minimum > gpus:
        pytest.skip("refused, as another test shows")
    placed = place(_options(actors=actors), Cluster(cpus, gpus))
    tasks = placed.actors.maximum * placed.calls * placed.lanes
    claimed = placed.actors.maximum * placed.actor_cpus + tasks * placed.decode_cpus
    assert claimed <= cpus
    if claimed:
        assert claimed <= cpus - 1  # one for Ray Data's read task
    assert placed.lanes >= 1
    assert placed.threads >= 1


@pytest.mark.parametrize(
    ("cpus", "gpus", "count", "device"),
    [(1, 0, 1, "cpu"), (2, 0, 1, "cpu"), (8, 0, 4, "cpu"), (16, 2, 2, "cuda")],
)
def test_one_actor_a_gpu_or_a_cpu_pair(cpus: int, gpus: int, count: int, device: str) -> None:
    placed = place(_options(), Cluster(cpus, gpus))
    assert (placed.device, placed.actors) == (device, ActorCount(count, count))


def test_several_actors_share_a_gpu() -> None:
    placed = place(_options(gpus_per_actor=0.25), Cluster(32, 2))
    assert (placed.actors.maximum, placed.actor_gpus) == (8, 0.25)
    assert place(_options(gpus_per_actor=0.4), Cluster(32, 2)).actors.maximum == 4  # two on each, never across


def test_an_autoscaler_counts_as_what_it_may_add() -> None:
    placed = place(_options(), Cluster(8, 0, gpus_possible=4))
    assert (placed.device, placed.actors) == ("cuda", ActorCount(1, 4))


@pytest.mark.parametrize(
    ("changes", "cluster", "message"),
    [
        ({"device": "cuda"}, Cluster(8, 0), "no GPUs"),
        ({"gpus_per_actor": 4.0}, Cluster(8, 2), "never fit one actor"),
        ({"actors": ActorCount(3, 3)}, Cluster(8, 2), "room for 2"),
    ],
)
def test_what_can_never_fit_is_refused(changes: dict[str, object], cluster: Cluster, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        place(_options(**changes), cluster)


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
        ("precision", "int8"),
        ("clips_per_file", 0),
        ("gpus_per_actor", 1.5),
        ("limit", 0),
        ("commit_every", 0),
    ],
)
def test_an_option_out_of_range_is_named(name: str, value: object) -> None:
    with pytest.raises(UsageError, match=f"--{name.replace('_', '-')} {value}"):
        _options(**{name: value})
