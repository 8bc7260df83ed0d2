"""The figures of a run, from its `clips` table and the counts of its actors."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline.progress import Counts
from pipeline.recovery import clip_rows

_COLUMNS = [
    "clip_id",
    "status",
    "error_stage",
    "error_type",
    "error_message",
    "objects",
    "frames",
    "corrupt_frames",
    "fps",
    "run_id",
    "started_at",
    "finished_at",
    "decode_wait_s",
]
_EXAMPLES = 3
_SLOWEST = 10


@dataclass(slots=True)
class FailureGroup:
    """Clips that ended with the same stage and type of error, and a few of them."""

    stage: str
    type: str
    clips: int = 0
    examples: list[dict[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class Figures:
    """What an output folder holds, and what one run did for it.

    Attributes:
        clips: clips in the output by status, and ``total``; ``this_run`` counts those that this run committed.
        frames, corrupt_frames: sums over all clips; ``video_hours`` is the tracked length of the videos.
        failures: groups of failed and partial clips, the largest first.
        slowest: clips of this run by wall time.
        run: rates of this run.
    """

    clips: dict[str, int]
    objects: int
    frames: int
    corrupt_frames: int
    video_hours: float
    failures: list[FailureGroup]
    slowest: list[dict[str, Any]]
    run: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def collect(output: str, run_id: str, counts: Counts, wall_s: float, actors: int) -> Figures:
    """Read the figures of ``output``; memory does not grow with the number of clips.

    Args:
        counts: what the actors of this run reported.
        wall_s: how long this run took.
        actors: tracker actors of this run, for the share of time that devices were busy.
    """
    clips: dict[str, int] = {"total": 0, "ok": 0, "partial": 0, "failed": 0, "this_run": 0}
    objects = frames = corrupt = 0
    seconds = 0.0
    groups: dict[tuple[str, str], FailureGroup] = {}
    slowest: list[tuple[float, str, int]] = []
    for row in _rows(output):
        clips["total"] += 1
        clips[row["status"]] += 1
        objects += row["objects"] or 0
        frames += row["frames"] or 0
        corrupt += row["corrupt_frames"] or 0
        seconds += (row["frames"] or 0) / row["fps"] if row["fps"] else 0.0
        if row["status"] != "ok":
            key = (row["error_stage"] or "", row["error_type"] or "")
            group = groups.setdefault(key, FailureGroup(*key))
            group.clips += 1
            if len(group.examples) < _EXAMPLES:
                group.examples.append({"clip_id": row["clip_id"], "message": row["error_message"] or ""})
        if row["run_id"] == run_id:
            clips["this_run"] += 1
            if row["started_at"] and row["finished_at"]:
                took = (row["finished_at"] - row["started_at"]).total_seconds()
                heapq.heappush(slowest, (took, row["clip_id"], row["frames"] or 0))
                if len(slowest) > _SLOWEST:
                    heapq.heappop(slowest)
    return Figures(
        clips=clips,
        objects=objects,
        frames=frames,
        corrupt_frames=corrupt,
        video_hours=seconds / 3600,
        failures=sorted(groups.values(), key=lambda group: -group.clips),
        slowest=[
            {"clip_id": clip, "seconds": round(took, 3), "frames": count}
            for took, clip, count in sorted(slowest, reverse=True)
        ],
        run=_rates(counts, wall_s, actors),
    )


def _rates(counts: Counts, wall_s: float, actors: int) -> dict[str, float]:
    wall = max(wall_s, 1e-9)
    rates: dict[str, float] = defaultdict(float)
    rates["wall_s"] = wall_s
    rates["frames"] = counts.frames
    rates["track_frames"] = counts.track_frames
    rates["frames_per_s"] = counts.frames / wall
    rates["track_frames_per_s"] = counts.track_frames / wall
    rates["device_busy"] = counts.busy_s / (wall * max(actors, 1))
    rates["decode_wait_s"] = counts.decode_wait_s
    rates["commits"] = counts.commits
    return {name: round(float(value), 4) for name, value in rates.items()}


def _rows(output: str) -> Iterator[dict[str, Any]]:
    for batch in clip_rows(output, _COLUMNS):
        yield from batch.to_pylist()
