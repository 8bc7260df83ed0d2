"""What becomes of clips that are run alone: tried again with pauses, and charged with their own faults only."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
from ray.exceptions import OutOfMemoryError, RayActorError, RayTaskError

from pipeline import alone, lease, storage
from pipeline.alone import commit_failed, run_alone
from pipeline.clips import Clip, ObjectStart
from pipeline.control import BreakerOpen
from pipeline.progress import Counts

DIED = RayActorError()
OUT_OF_MEMORY = OutOfMemoryError("killed")


def _clip(name: str) -> Clip:
    return Clip(name, "v.mp4", "/v.mp4", objects=(ObjectStart("0", box=(1, 2, 3, 4)),), keep={"camera": "north"})


@pytest.fixture
def plan(tmp_path: Path) -> Iterator[Any]:
    output = str(tmp_path / "out")
    placement = SimpleNamespace(actors=SimpleNamespace(maximum=2))
    with lease.acquire(output, "run-1", 0):
        yield SimpleNamespace(
            output=output, run_id="run-1", config_hash="x", attempt=2, keep_types=["camera"], placement=placement
        )


class Watch:
    """Stands in for the driver's watch: counts, and opens the breaker after some failures."""

    def __init__(self, breaks_at: int = 99) -> None:
        self.counts, self.breaks_at, self.looks, self.control = Counts(), breaks_at, 0, self

    def add(self, counts: Counts) -> None:
        self.counts.add(counts)

    def look(self, *, last: bool = False) -> Exception | None:
        self.looks += 1
        return BreakerOpen("enough") if self.counts.failed >= self.breaks_at else None


class Actors:
    """Stands in for Ray: an actor's calls end as the clip's script says, the last word again and again."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **script: list[Exception | None]) -> None:
        self.script, self.made, self.most = script, 0, 0
        self.calls: list[tuple[str, float]] = []
        self.alive: set[_Actor] = set()
        monkeypatch.setattr(alone, "_actor", self._make)
        monkeypatch.setattr(alone.ray, "kill", self.alive.discard)
        monkeypatch.setattr(alone.ray, "wait", self._wait)
        monkeypatch.setattr(alone.ray, "get", self._get)
        monkeypatch.setattr(alone, "POLL_S", 0.01)
        monkeypatch.setattr(alone, "PAUSES_S", (0.05, 0.3))

    def _make(self, plan: Any) -> Any:
        self.made += 1
        actor = _Actor(SimpleNamespace(remote=self._call))
        self.alive.add(actor)
        return actor

    def _call(self, shard: str, clips: list[Clip]) -> Any:
        self.calls.append((clips[0].clip_id, time.monotonic()))
        return clips[0].clip_id, len(self.calls)

    def _wait(self, calls: list[Any], **_: object) -> tuple[list[Any], list[Any]]:
        self.most = max(self.most, len(calls))
        return calls[:1], calls[1:]

    def _get(self, call: Any) -> None:
        answers = self.script.get(call[0], [None])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if answer is not None:
            raise answer


class _Actor:
    def __init__(self, run_shard: Any) -> None:
        self.run_shard = run_shard


def test_a_clip_that_always_kills_its_actor_is_one_failed_row(plan: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    actors, watch = Actors(monkeypatch, poison=[DIED]), Watch()
    assert run_alone([_clip(name) for name in ("a", "poison", "b", "c")], plan, watch) == 4
    (row,) = pq.read_table(f"{plan.output}/clips").to_pylist()
    assert (row["clip_id"], row["error_stage"], row["error_type"]) == ("poison", "actor", "ActorDied")
    times = [at for name, at in actors.calls if name == "poison"]
    assert len(times) == 3 and times[1] - times[0] >= 0.05 and times[2] - times[1] >= 0.3
    assert [name for name, _ in actors.calls if name != "poison"] == ["a", "b", "c"]
    assert watch.counts == Counts(failed=1) and watch.looks >= 4
    assert not actors.alive


@pytest.mark.parametrize("error", [DIED, RayTaskError("run", "", storage.Unavailable("s3://b/k", "write", "c", "a"))])
def test_a_fault_that_passes_costs_no_clip(plan: Any, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    actors = Actors(monkeypatch, a=[error, error, None])
    assert run_alone([_clip("a"), _clip("b")], plan, Watch()) == 2
    assert not Path(plan.output, "clips").exists()
    assert actors.made >= 3, "each try has an actor of its own"
    assert not actors.alive, "actors that have nothing to do hold what others may need"


def test_few_clips_are_held_while_a_store_is_away(plan: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = 0

    def many() -> Iterator[Clip]:
        nonlocal taken
        for number in range(10_000):
            taken += 1
            yield _clip(str(number))

    actors = Actors(monkeypatch, **{str(number): [DIED] for number in range(10_000)})
    with pytest.raises(BreakerOpen):
        run_alone(many(), plan, Watch(breaks_at=5))
    assert taken < 60 and actors.most <= 2
    assert not actors.alive


def test_the_breaker_stops_it(plan: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    Actors(monkeypatch, **{name: [DIED] for name in "abcdef"})
    with pytest.raises(BreakerOpen):
        run_alone([_clip(name) for name in "abcdef"], plan, Watch(breaks_at=2))
    assert pq.read_table(f"{plan.output}/clips").num_rows == 2


def test_a_run_that_lost_its_output_charges_no_clip(plan: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    actors = Actors(monkeypatch, a=[RayTaskError("run", "", lease.LeaseLost("gone"))])
    with pytest.raises(lease.LeaseLost):
        run_alone([_clip("a")], plan, Watch())
    assert len(actors.calls) == 1 and not Path(plan.output, "clips").exists()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RayTaskError("run_shard", "trace", AssertionError()), ("write", "AssertionError", "")),
        (RayTaskError("run_shard", "trace", ValueError("first\nsecond")), ("write", "ValueError", "first")),
        (DIED, ("actor", "ActorDied", "the tracker actor died while it worked on this clip alone")),
        (OUT_OF_MEMORY, ("actor", "OutOfMemory", "the node ran out of memory while the clip was tracked alone")),
    ],
)
def test_the_row_says_what_happened(plan: Any, error: Exception, expected: tuple[str, str, str]) -> None:
    commit_failed(_clip("c"), plan, error)
    (row,) = pq.read_table(f"{plan.output}/clips").to_pylist()
    assert (row["error_stage"], row["error_type"], row["error_message"]) == expected
    assert (row["clip_id"], row["status"], row["masks_part"], row["camera"]) == ("c", "failed", None, "north")
