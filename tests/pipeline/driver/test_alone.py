"""What becomes of clips that are run alone: tried again with pauses, and charged with their own faults only."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ray.exceptions import OutOfMemoryError, RayActorError, RayTaskError

from pipeline import storage
from pipeline.clip import Clip, ObjectStart
from pipeline.driver import alone
from pipeline.driver.alone import commit_failed, run_alone
from pipeline.driver.watch import BreakerOpen
from pipeline.output import lease
from pipeline.progress.control import RoomState
from pipeline.progress.counts import Counts

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
            options=SimpleNamespace(precision="auto"),
            output=output,
            leased=output,
            run_id="run-1",
            config_hash="x",
            attempt=2,
            keep_types={"camera": pa.string()},
            placement=placement,
            model_name="siammask-r18",
            resources={},
        )


class Watch:
    """Stands in for the driver's watch: counts, and opens the breaker after some failures."""

    def __init__(self, breaks_at: int = 99) -> None:
        self.counts, self.breaks_at, self.looks, self.control = Counts(), breaks_at, 0, self
        self.state = RoomState("life", Counts(), Counts(), 0.0)
        self.losses: list[str | None] = []

    def lost_by(self, actor: str) -> str | None:
        return self.losses.pop(0) if self.losses else None

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
        self.starts: list[Exception | None] = []
        self.alive: set[_Handle] = set()
        monkeypatch.setattr(alone, "Segmenter", None)
        monkeypatch.setattr(alone.ray, "remote", lambda _: SimpleNamespace(options=self._options))
        monkeypatch.setattr(alone.ray, "kill", self.alive.discard)
        monkeypatch.setattr(alone.ray, "wait", self._wait)
        monkeypatch.setattr(alone.ray, "get", self._get)
        monkeypatch.setattr(alone, "POLL_S", 0.01)
        monkeypatch.setattr(alone, "PAUSES_S", (0.05, 0.3))

    def _options(self, **_: object) -> Any:
        return SimpleNamespace(remote=self._make)

    def _make(self, plan: Any) -> Any:
        self.made += 1
        identity = "identity", self.made
        actor = _Handle(SimpleNamespace(remote=self._call), SimpleNamespace(remote=lambda: identity))
        self.alive.add(actor)
        return actor

    def _call(self, shard: str, clips: list[Clip]) -> Any:
        self.calls.append((clips[0].clip_id, time.monotonic()))
        return clips[0].clip_id, len(self.calls)

    def _wait(self, calls: list[Any], **_: object) -> tuple[list[Any], list[Any]]:
        self.most = max(self.most, len(calls))
        return calls[:1], calls[1:]

    def _get(self, call: Any) -> Any:
        if call[0] == "identity":
            if self.starts and (error := self.starts.pop(0)) is not None:
                raise error
            return f"actor-{call[1]}", "bf16"
        answers = self.script.get(call[0], [None])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if answer is not None:
            raise answer


@dataclass(frozen=True, eq=False)
class _Handle:
    run_shard: Any
    identity: Any


def test_a_clip_that_always_kills_its_actor_is_one_failed_row(plan: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    actors, watch = Actors(monkeypatch, poison=[DIED]), Watch()
    assert run_alone([_clip(name) for name in ("a", "poison", "b", "c")], plan, watch) == 4
    (row,) = pq.read_table(f"{plan.output}/clips").to_pylist()
    assert (row["clip_id"], row["error_stage"], row["error_type"]) == ("poison", "actor", "ActorDied")
    assert (row["model"], row["precision"]) == ("siammask-r18", "bf16"), "what its actors computed in"
    times = [started for name, started in actors.calls if name == "poison"]
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


def test_a_device_that_is_lost_costs_its_clip_no_try(plan: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often, as long as it may be the device's fault: here six times, between them two other deaths."""
    actors, watch = Actors(monkeypatch, a=[DIED] * 8 + [None]), Watch()
    watch.losses = ["gone"] * 3 + [None] * 2 + ["gone"] * 3
    assert run_alone([_clip("a")], plan, watch) == 1
    assert len(actors.calls) == 9 and not Path(plan.output, "clips").exists()


def test_a_clip_that_takes_every_device_along_is_one_failed_row(plan: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    actors, watch = Actors(monkeypatch, a=[DIED]), Watch()
    monkeypatch.setattr(alone, "PAUSES_S", (0.01, 0.01))
    watch.losses = ["device-side assert"] * 99
    assert run_alone([_clip("a"), _clip("b")], plan, watch) == 2
    (row,) = pq.read_table(f"{plan.output}/clips").to_pylist()
    assert (row["clip_id"], row["error_stage"], row["error_type"]) == ("a", "actor", "DeviceLost")
    assert "device-side assert" in row["error_message"]
    assert [name for name, _ in actors.calls].count("a") == alone.MOST_DEVICES_LOST + 1


def test_actors_that_do_not_start_are_no_fault_of_a_clip(plan: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    actors = Actors(monkeypatch)
    actors.starts = [DIED] * alone.MOST_FAILED_STARTS
    assert run_alone([_clip("a")], plan, Watch()) == 1 and len(actors.calls) == 1
    actors.starts = [DIED] * 99
    with pytest.raises(RuntimeError, match="cannot be started"):
        run_alone([_clip("b")], plan, Watch())
    assert not actors.alive and not Path(plan.output, "clips").exists()


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
    commit_failed(_clip("c"), plan, error, "fp32")
    (row,) = pq.read_table(f"{plan.output}/clips").to_pylist()
    assert (row["error_stage"], row["error_type"], row["error_message"]) == expected
    assert (row["clip_id"], row["status"], row["masks_part"], row["camera"]) == ("c", "failed", None, "north")
