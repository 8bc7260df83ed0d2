"""The figures of a run, read from the output's tables; memory does not grow with the number of clips."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any

from pipeline.recovery import clip_rows
from pipeline.report.rows import MaskRowCounter
from pipeline.report.sample import Sample, Sampler

_COLUMNS = [
    "clip_id",
    "video_uri",
    "status",
    "error_stage",
    "error_type",
    "error_message",
    "objects",
    "frames",
    "corrupt_frames",
    "start_frame",
    "end_frame",
    "fps",
    "width",
    "height",
    "codec",
    "decoder",
    "masks_part",
    "run_id",
    "started_at",
    "finished_at",
    "decode_wait_s",
]
_EXAMPLES = 3
_SLOWEST = 10


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What the tables do not tell of a run; None where it is not known.

    Attributes:
        run_id: the run.
        stride: every n-th frame was tracked.
        wall_s: how long the run took.
        actors: most tracker actors at once.
        busy_s: seconds that their engines spent on the device, all together.
        commits: parts that they committed.
    """

    run_id: str
    stride: int = 1
    wall_s: float | None = None
    actors: int | None = None
    busy_s: float | None = None
    commits: int | None = None


@dataclass(slots=True)
class FailureGroup:
    """Clips that ended with the same stage and type of error, and a few of them."""

    stage: str
    type: str
    clips: int = 0
    partial: int = 0
    examples: list[dict[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class Figures:
    """What an output holds, and what one run did for it; `docs/report.md` describes every name.

    Attributes:
        clips: clips in the output by status, and ``total``; ``this_run`` counts those that the run committed.
        objects, frames, track_frames, corrupt_frames: sums over all clips; ``track_frames`` are rows of `masks`.
        video_hours: length of the tracked video.
        failures: groups of failed and partial clips, the largest first.
        slowest: clips of the run by the time they took.
        run: figures of the run; None where they are not known.
        warnings: what could not be read for these figures.
        sample: the clips to show; not among the figures for machines.
    """

    clips: dict[str, int]
    objects: int
    frames: int
    track_frames: int
    corrupt_frames: int
    video_hours: float
    failures: list[FailureGroup]
    slowest: list[dict[str, Any]]
    run: dict[str, float | int | None]
    warnings: list[str]
    sample: Sample

    def to_dict(self) -> dict[str, Any]:
        """The figures as JSON values."""
        plain = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "sample"}
        names = [one.name for one in fields(FailureGroup)]
        return {**plain, "failures": [{name: getattr(one, name) for name in names} for one in self.failures]}


def collect(output: str, run: RunFacts, shown: int = 0) -> Figures:
    """Read the figures of ``output``.

    Args:
        run: the run to tell apart from those before.
        shown: size of the sample of clips.

    Raises:
        StorageError: the `clips` table cannot be read.
    """
    sums, mine = _Sums(run.stride), _Sums(run.stride)
    sampler, groups, slowest = Sampler(shown), dict[tuple[str, str], FailureGroup](), list[tuple[float, str, Any]]()
    with MaskRowCounter(output) as masks:
        for row in _rows(output):
            sums.add(row)
            sampler.add(row)
            if row["status"] != "ok":
                _add_failure(groups, row)
            if row["masks_part"]:
                masks.add(row["masks_part"], mine=row["run_id"] == run.run_id)
            if row["run_id"] == run.run_id:
                mine.add(row)
                if (took := _seconds(row)) is not None:
                    heapq.heappush(slowest, (took, row["clip_id"], row))
                    if len(slowest) > _SLOWEST:
                        heapq.heappop(slowest)
        rows = masks.total()
    return Figures(
        clips={"total": sums.clips, **sums.statuses, "this_run": mine.clips},
        objects=sums.objects,
        frames=sums.frames,
        track_frames=rows.all,
        corrupt_frames=sums.corrupt,
        video_hours=sums.video_s / 3600,
        failures=sorted(groups.values(), key=lambda group: (-group.clips, group.stage, group.type)),
        slowest=[_slow(row, took) for took, _, row in sorted(slowest, key=lambda one: one[:2], reverse=True)],
        run=_rates(mine, rows.mine, run),
        warnings=[f"{rows.unread} masks parts could not be read; their rows are not counted"] if rows.unread else [],
        sample=sampler.sample(),
    )


class _Sums:
    """Sums over clips."""

    def __init__(self, stride: int) -> None:
        self._stride = stride
        self.statuses = {"ok": 0, "partial": 0, "failed": 0}
        self.clips = self.objects = self.frames = self.corrupt = 0
        self.video_s = self.clip_s = self.wait_s = 0.0

    def add(self, row: dict[str, Any]) -> None:
        self.clips += 1
        self.statuses[row["status"]] += 1
        self.objects += row["objects"] or 0
        frames = row["frames"] or 0
        self.frames += frames
        self.corrupt += row["corrupt_frames"] or 0
        if row["fps"]:
            # A frame that was tracked stands for those that the stride passed over, up to the end of the range.
            whole = (row["end_frame"] or 0) - (row["start_frame"] or 0)
            self.video_s += min(frames * self._stride, max(whole, frames)) / row["fps"]
        self.clip_s += _seconds(row) or 0.0
        self.wait_s += row["decode_wait_s"] or 0.0


def _add_failure(groups: dict[tuple[str, str], FailureGroup], row: dict[str, Any]) -> None:
    key = (row["error_stage"] or "", row["error_type"] or "")
    group = groups.setdefault(key, FailureGroup(*key))
    group.clips += 1
    group.partial += row["status"] == "partial"
    if len(group.examples) < _EXAMPLES:
        example = {"clip_id": row["clip_id"], "status": row["status"], "message": row["error_message"] or ""}
        group.examples.append(example)


def _slow(row: dict[str, Any], took: float) -> dict[str, Any]:
    wait, frames = row["decode_wait_s"], row["frames"] or 0
    return {
        "clip_id": row["clip_id"],
        "status": row["status"],
        "seconds": round(took, 3),
        "frames": frames,
        "objects": row["objects"] or 0,
        "frames_per_s": round(frames / took, 2) if took > 0 else None,
        "decode_wait_s": None if wait is None else round(wait, 3),
    }


def _rates(mine: _Sums, mask_rows: int, run: RunFacts) -> dict[str, float | int | None]:
    def over(value: float, base: float | None) -> float | None:
        return round(value / base, 4) if base else None

    devices = run.wall_s * run.actors if run.wall_s and run.actors else None
    return {
        "wall_s": None if run.wall_s is None else round(run.wall_s, 3),
        "actors": run.actors,
        "frames": mine.frames,
        "track_frames": mask_rows,
        "video_hours": round(mine.video_s / 3600, 6),
        "frames_per_s": over(mine.frames, run.wall_s),
        "track_frames_per_s": over(mask_rows, run.wall_s),
        "video_hours_per_hour": over(mine.video_s, run.wall_s),
        "busy_s": None if run.busy_s is None else round(run.busy_s, 3),
        "device_busy": None if run.busy_s is None else over(run.busy_s, devices),
        "clip_s": round(mine.clip_s, 3),
        "decode_wait_s": round(mine.wait_s, 3),
        "decode_wait_share": over(mine.wait_s, mine.clip_s),
        "commits": run.commits,
    }


def _seconds(row: dict[str, Any]) -> float | None:
    if not row["started_at"] or not row["finished_at"]:
        return None
    return (row["finished_at"] - row["started_at"]).total_seconds()


def _rows(output: str) -> Iterator[dict[str, Any]]:
    for batch in clip_rows(output, _COLUMNS):
        yield from batch.to_pylist()
