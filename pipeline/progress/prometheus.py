"""What a run tells Prometheus, through Ray's own metrics: every node of the cluster serves it on its metrics port.

The names here are the exported ones without the `ray_` that Ray puts before them; docs/operating.md says what each
means. Counters count work done: a clip that is done again, since its actor died, counts again. What a run achieved is
read from its tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, Protocol

from pipeline.progress.counts import Counts
from pipeline.progress.devices import LostDevice

STATUSES = ("ok", "partial", "failed")


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    Attributes:
        kind: "Counter" or "Gauge", as in `ray.util.metrics`.
        tags: its labels, beside those that Ray adds.
    """

    name: str
    kind: str
    description: str
    tags: tuple[str, ...] = ()


METRICS = (
    Metric("siammask_clips_total", "Counter", "Clips ended, by status.", ("run", "status")),
    Metric("siammask_frames_total", "Counter", "Frames handed to the tracker.", ("run",)),
    Metric("siammask_track_frames_total", "Counter", "Mask rows made, one an object and frame.", ("run",)),
    Metric("siammask_commits_total", "Counter", "Parts committed to the output.", ("run",)),
    Metric("siammask_decode_wait_seconds_total", "Counter", "Seconds that ended clips waited for frames.", ("run",)),
    Metric("siammask_retries_total", "Counter", "Clips started over, and actors started again.", ("run", "of")),
    Metric("siammask_engine_busy_seconds_total", "Counter", "Seconds with work on the device.", ("run",)),
    Metric("siammask_engine_idle_seconds_total", "Counter", "Seconds with nothing on the device.", ("run",)),
    Metric("siammask_engine_steps_total", "Counter", "Batches that engines ran.", ("run",)),
    Metric("siammask_engine_batch_tracks", "Gauge", "Mean tracks a batch since the last report.", ("run",)),
    Metric("siammask_staged_bytes_total", "Counter", "Bytes of videos downloaded to nodes."),
    Metric("siammask_staging_bytes", "Gauge", "Bytes of staged videos that a decode worker holds."),
    Metric("siammask_device_losses_total", "Counter", "Times that a device was lost.", ("run", "device")),
    Metric("siammask_devices_given_up", "Gauge", "Devices that the run uses no more.", ("run",)),
    Metric("siammask_run_clips", "Gauge", "Clips that the run had to do when it started.", ("run",)),
    Metric("siammask_run_actors", "Gauge", "Tracker actors that the run wants at most.", ("run",)),
)


class EngineFigures(Protocol):
    """What is read of an engine's statistics."""

    @property
    def steps(self) -> int: ...

    @property
    def tracks(self) -> int: ...

    @property
    def busy_s(self) -> float: ...

    @property
    def idle_s(self) -> float: ...


class ActorMetrics:
    """The metrics of one tracker actor; `report` is given sums that only grow, and hands on what is new.

    Args:
        run: the run's id.
        restarted: whether this actor was started again after a death.
        metric: makes or finds a metric by name.
    """

    def __init__(self, run: str, *, restarted: bool = False, metric: Callable[[str], Any] | None = None) -> None:
        self._metric = metric or instrument
        self._run = run
        self._counts = Counts()
        self._steps = self._tracks = 0
        self._busy_s = self._idle_s = 0.0
        self._add("siammask_retries_total", 1 if restarted else 0, of="actor")

    def report(self, counts: Counts, engine: EngineFigures) -> None:
        """Take all that was counted since the actor began, and its engine's statistics."""
        new = Counts(*(getattr(counts, field.name) - getattr(self._counts, field.name) for field in fields(Counts)))
        self._counts.add(new)
        for status in STATUSES:
            self._add("siammask_clips_total", getattr(new, status), status=status)
        self._add("siammask_frames_total", new.frames)
        self._add("siammask_track_frames_total", new.track_frames)
        self._add("siammask_commits_total", new.commits)
        self._add("siammask_decode_wait_seconds_total", new.decode_wait_s)
        self._add("siammask_retries_total", new.retries, of="clip")
        steps, tracks = engine.steps - self._steps, engine.tracks - self._tracks
        self._add("siammask_engine_steps_total", steps)
        self._add("siammask_engine_busy_seconds_total", engine.busy_s - self._busy_s)
        self._add("siammask_engine_idle_seconds_total", engine.idle_s - self._idle_s)
        self._metric("siammask_engine_batch_tracks").set(tracks / steps if steps else 0.0, {"run": self._run})
        self._steps, self._tracks = engine.steps, engine.tracks
        self._busy_s, self._idle_s = max(engine.busy_s, self._busy_s), max(engine.idle_s, self._idle_s)

    def _add(self, name: str, amount: float, **tags: str) -> None:
        if amount > 0:  # Ray refuses 0
            self._metric(name).inc(amount, {"run": self._run, **tags})


def run_started(run: str, clips: int, actors: int) -> None:
    """Say what a run sets out to do; call it in the driver."""
    instrument("siammask_run_clips").set(clips, {"run": run})
    instrument("siammask_run_actors").set(actors, {"run": run})
    instrument("siammask_devices_given_up").set(0, {"run": run})


def devices_lost(run: str, before: Iterable[LostDevice], now: Iterable[LostDevice]) -> None:
    """Say which devices were lost; call it in the driver, since a process that ends takes its metrics along."""
    known = {device.place: device.losses for device in before}
    given_up = 0
    for device in now:
        given_up += device.given_up
        if (losses := device.losses - known.get(device.place, 0)) > 0:
            instrument("siammask_device_losses_total").inc(losses, {"run": run, "device": str(device.place)})
    instrument("siammask_devices_given_up").set(given_up, {"run": run})


def staging(held: int, downloaded: int = 0) -> None:
    """Say what this decode worker keeps staged now, and what it has downloaded since it last said so, in bytes."""
    import ray

    if ray.is_initialized():  # decoding in the caller's own process has nobody to tell
        instrument("siammask_staging_bytes").set(held)
        if downloaded:
            instrument("siammask_staged_bytes_total").inc(downloaded)


@cache
def instrument(name: str) -> Any:
    """The metric of this name in this process."""
    from ray.util import metrics

    (metric,) = (metric for metric in METRICS if metric.name == name)
    return getattr(metrics, metric.kind)(metric.name, metric.description, metric.tags)
