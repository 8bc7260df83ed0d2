"""What an actor tells Prometheus: only what is new, under names that are declared once."""

from __future__ import annotations

import inspect
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import pytest
from ray.util import metrics as ray_metrics

from pipeline.progress import prometheus as metrics
from pipeline.progress.counts import Counts
from pipeline.progress.prometheus import METRICS, ActorMetrics
from pipeline.progress.tally import Tally


@dataclass
class Instrument:
    """Stands in for one of Ray's metrics, which refuse to count 0."""

    name: str
    values: dict[tuple[str, str], float]

    def inc(self, amount: float, tags: dict[str, str]) -> None:
        assert amount > 0
        assert set(tags) == {tag for metric in METRICS if metric.name == self.name for tag in metric.tags}
        self.values[self.name, tags.get("status") or tags.get("of", "")] += amount

    def set(self, amount: float, tags: dict[str, str]) -> None:
        self.values[self.name, ""] = amount


@dataclass
class Stats:
    steps: int = 0
    tracks: int = 0
    busy_s: float = 0.0
    idle_s: float = 0.0


@pytest.fixture
def values() -> dict[tuple[str, str], float]:
    return defaultdict(float)


def test_sums_that_grow_count_once(values: dict[Any, float]) -> None:
    actor = ActorMetrics("run", metric=lambda name: Instrument(name, values))
    actor.report(Counts(ok=2, failed=1, frames=100, track_frames=200, decode_wait_s=1.5), Stats(10, 40, 3.0, 1.0))
    actor.report(Counts(ok=3, failed=1, frames=150, track_frames=300, commits=1, retries=2), Stats(20, 100, 5.0, 1.5))
    assert values["siammask_clips_total", "ok"] == 3
    assert values["siammask_clips_total", "failed"] == 1
    assert values["siammask_frames_total", ""] == 150
    assert values["siammask_track_frames_total", ""] == 300
    assert values["siammask_commits_total", ""] == 1
    assert values["siammask_retries_total", "clip"] == 2
    assert values["siammask_engine_steps_total", ""] == 20
    assert values["siammask_engine_batch_tracks", ""] == 6.0  # of the last ten steps
    assert values["siammask_engine_busy_seconds_total", ""] == 5.0
    assert values["siammask_engine_idle_seconds_total", ""] == 1.5


def test_a_quiet_second_says_so(values: dict[Any, float]) -> None:
    actor = ActorMetrics("run", restarted=True, metric=lambda name: Instrument(name, values))
    actor.report(Counts(), Stats(5, 10))
    actor.report(Counts(), Stats(5, 10))
    assert values["siammask_engine_batch_tracks", ""] == 0
    assert values["siammask_retries_total", "actor"] == 1


def test_what_could_not_be_reported_is_not_counted_twice() -> None:
    tally = Tally()
    tally.add_to("a", frames=10, ok=1)
    tally.commit(["a"])
    done, _ = tally.drain()
    tally.put_back(done)
    assert tally.drain()[0].frames == 10
    assert tally.ever().frames == 10
    tally.add_to("b", frames=5)
    tally.drop(["b"])
    assert tally.ever().frames == 15, "the work was done"


def test_every_metric_is_one_that_ray_takes() -> None:
    for metric in METRICS:
        kind = getattr(ray_metrics, metric.kind)
        assert list(inspect.signature(kind).parameters)[:3] == ["name", "description", "tag_keys"]
        assert metric.name.startswith("siammask_") and metric.description.endswith(".")
        assert metric.name.endswith("_total") == (metric.kind == "Counter")
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    assert isinstance(metrics.instrument("siammask_frames_total"), ray_metrics.Counter)
