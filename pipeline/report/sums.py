"""Sums over rows of `clips` for a report; memory does not grow with the number of clips."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from pipeline.report.sample import Sampler

COLUMNS = [
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
    "tracks",
    "masks_part",
    "run_id",
    "started_at",
    "finished_at",
    "decode_wait_s",
]
"""Columns of `clips` that a report needs."""

_Slow = tuple[float, str, int, dict[str, Any]]
"""Seconds, clip id, a number that no other row has, row: rows themselves cannot be compared."""

_numbers = itertools.count()
_EXAMPLES = 3
_SLOWEST = 10


@dataclass(slots=True)
class FailureGroup:
    """Clips that ended with the same stage and type of error, and a few of them."""

    stage: str
    type: str
    clips: int = 0
    partial: int = 0
    examples: list[dict[str, str]] = field(default_factory=list)

    def add(self, row: dict[str, Any]) -> None:
        """Take the row of a clip that ended so."""
        self.clips += 1
        self.partial += row["status"] == "partial"
        if len(self.examples) < _EXAMPLES:
            example = {"clip_id": row["clip_id"], "status": row["status"], "message": row["error_message"] or ""}
            self.examples.append(example)

    def join(self, other: FailureGroup) -> None:
        """Take the clips of another group of the same error."""
        self.clips += other.clips
        self.partial += other.partial
        self.examples = [*self.examples, *other.examples][:_EXAMPLES]


class RowSums:
    """What a report keeps of rows of `clips`; bounded, whatever their number.

    Attributes:
        sums, this_run: over all rows, and over those of the run.
        groups: failures by stage and type.
        slowest: the run's slowest clips, as a heap.
    """

    def __init__(self, run_id: str, stride: int, shown: int) -> None:
        self._run_id = run_id
        self.sums, self.this_run = Sums(stride), Sums(stride)
        self.sampler = Sampler(shown)
        self.groups: dict[tuple[str, str], FailureGroup] = {}
        self.slowest: list[_Slow] = []

    def add(self, rows: pa.Table) -> None:
        """Take the rows of a part, with `COLUMNS` at least."""
        known = [name for name in COLUMNS if name in rows.column_names]  # older versions have no tracks
        for row in rows.select(known).to_pylist():
            self.sums.add(row)
            self.sampler.add(row)
            if row["status"] != "ok":
                key = (row["error_stage"] or "", row["error_type"] or "")
                self.groups.setdefault(key, FailureGroup(*key)).add(row)
            if row["run_id"] == self._run_id:
                self.this_run.add(row)
                if (took := _seconds(row)) is not None:
                    self._add_slow((took, row["clip_id"], next(_numbers), row))

    def join(self, other: RowSums) -> None:
        """Take all that the other has."""
        self.sums.join(other.sums)
        self.this_run.join(other.this_run)
        self.sampler.join(other.sampler)
        for key, group in other.groups.items():
            self.groups.setdefault(key, FailureGroup(*key)).join(group)
        for item in other.slowest:
            self._add_slow(item)

    def _add_slow(self, item: _Slow) -> None:
        heapq.heappush(self.slowest, item)
        if len(self.slowest) > _SLOWEST:
            heapq.heappop(self.slowest)


class Sums:
    """Sums over clips."""

    def __init__(self, stride: int) -> None:
        self._stride = stride
        self.statuses = {"ok": 0, "partial": 0, "failed": 0}
        self.clips = self.objects = self.frames = self.corrupt = 0
        self.video_s = self.clip_s = self.wait_s = 0.0
        self.categories: Counter[str] = Counter()

    def add(self, row: dict[str, Any]) -> None:
        """Take the row of a clip."""
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
        self.categories.update(track["category"] for track in row.get("tracks") or () if track["category"])
        self.clip_s += _seconds(row) or 0.0
        self.wait_s += row["decode_wait_s"] or 0.0

    def join(self, other: Sums) -> None:
        """Add the sums of other clips."""
        for name in ("clips", "objects", "frames", "corrupt", "video_s", "clip_s", "wait_s"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.categories.update(other.categories)
        for status, count in other.statuses.items():
            self.statuses[status] += count


def _seconds(row: dict[str, Any]) -> float | None:
    if not row["started_at"] or not row["finished_at"]:
        return None
    return (row["finished_at"] - row["started_at"]).total_seconds()
