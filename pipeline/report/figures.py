"""The figures of a run, read from the output's tables; memory does not grow with the number of clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import pyarrow as pa

from pipeline.output.index import OutputIndex
from pipeline.output.names import ClipsPart
from pipeline.output.parts import list_parts, read_parts
from pipeline.output.schema import STATUSES
from pipeline.report.mask_rows import count_mask_rows
from pipeline.report.sample import Sample
from pipeline.report.sums import COLUMNS, FailureGroup, RowSums, Sums

_CATEGORIES = 50


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
        lost_devices: devices that failed or fell silent: `node_id`, `host`, `gpu`, `losses`, `given_up`, `message`.
    """

    run_id: str
    stride: int = 1
    wall_s: float | None = None
    actors: int | None = None
    busy_s: float | None = None
    commits: int | None = None
    lost_devices: Sequence[Mapping[str, Any]] | None = None


@dataclass(slots=True)
class Figures:
    """What an output holds, and what one run did for it; `docs/report.md` describes every name.

    Attributes:
        clips: clips in the output by status, and ``total``; ``this_run`` counts those that the run committed.
        objects, frames, track_frames, corrupt_frames: sums over all clips; ``track_frames`` are rows of `masks`.
        categories: tracked objects by category, the most frequent first, 50 at most.
        video_hours: length of the tracked video.
        failures: groups of failed and partial clips, the largest first.
        slowest: clips of the run by the time they took.
        run: figures of the run; None where they are not known.
        warnings: what could not be read for these figures.
        sample: the clips to show; not among the figures for machines.
    """

    clips: dict[str, int]
    objects: int
    categories: dict[str, int]
    frames: int
    track_frames: int
    corrupt_frames: int
    video_hours: float
    failures: list[FailureGroup]
    slowest: list[dict[str, Any]]
    run: dict[str, Any]
    warnings: list[str]
    sample: Sample

    def to_dict(self) -> dict[str, Any]:
        """The figures as JSON values."""
        plain = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "sample"}
        names = [item.name for item in fields(FailureGroup)]
        return {**plain, "failures": [{name: getattr(item, name) for name in names} for item in self.failures]}


class FigureReader:
    """Takes from the rows of the clips parts what a report needs (a `PartReader` of `OutputIndex`).

    Parts of each status are summed apart, since what is forgotten to be run again are all parts of a status.

    Args:
        run_id: the run to tell apart from those before.
        stride: every n-th frame was tracked.
        shown: size of the sample of clips.
    """

    columns: Sequence[str] = COLUMNS

    def __init__(self, run_id: str, stride: int = 1, shown: int = 0) -> None:
        self._run_id, self._stride, self._shown = run_id, stride, shown
        self._by_status: dict[str, RowSums | None] = {status: self._empty() for status in STATUSES}

    def add(self, part: ClipsPart, rows: pa.Table) -> None:
        """Take the rows of a part."""
        if (known := self._by_status[part.status]) is not None:
            known.add(rows)

    def remove(self, status: str, left: int) -> None:
        """Forget the parts of a status; those that are left are read once more for the figures."""
        self._by_status[status] = None if left else self._empty()

    def figures(self, index: OutputIndex, run: RunFacts) -> Figures:
        """The figures of the parts of the index.

        Raises:
            StorageError: a part had to be read once more, and could not be.
        """
        self._read_again(index.output)
        whole = self._empty()
        for rows in self._by_status.values():
            assert rows is not None
            whole.join(rows)
        masks = {name: part.origin.run_id == run.run_id for part in index.parts.values() for name in part.masks}
        counted = count_mask_rows(index.output, masks.items())
        groups = sorted(whole.groups.values(), key=lambda group: (-group.clips, group.stage, group.type))
        slowest = sorted(whole.slowest, key=lambda item: item[:2], reverse=True)
        unread = f"{counted.unread} masks parts could not be read; their rows are not counted"
        sums, this_run = whole.sums, whole.this_run
        return Figures(
            clips={"total": sums.clips, **sums.statuses, "this_run": this_run.clips},
            objects=sums.objects,
            categories=dict(sums.categories.most_common(_CATEGORIES)),
            frames=sums.frames,
            track_frames=counted.all,
            corrupt_frames=sums.corrupt,
            video_hours=sums.video_s / 3600,
            failures=groups,
            slowest=[_slow(row, took) for took, *_, row in slowest],
            run=_rates(this_run, counted.this_run, run),
            warnings=[unread] * bool(counted.unread) + [device["message"] for device in run.lost_devices or ()],
            sample=whole.sampler.sample(),
        )

    def _read_again(self, output: str) -> None:
        """Read the parts of the statuses that lost some of their parts."""
        stale = [status for status, rows in self._by_status.items() if rows is None]
        if not stale:
            return
        self._by_status |= {status: self._empty() for status in stale}
        listed = [item for item in list_parts(output) if item.part.status in stale]
        for item, content in read_parts(listed, self.columns):
            if content is not None:
                self.add(item.part, content.rows)

    def _empty(self) -> RowSums:
        return RowSums(self._run_id, self._stride, self._shown)


def collect(output: str, run: RunFacts, shown: int = 0) -> Figures:
    """Read the figures of ``output``.

    Args:
        output: URI of the output folder.
        run: the run to tell apart from those before.
        shown: size of the sample of clips.

    Raises:
        StorageError: the `clips` table cannot be read.
    """
    reader = FigureReader(run.run_id, run.stride, shown)
    index = OutputIndex(output, reader)
    index.refresh()
    return reader.figures(index, run)


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


def _rates(sums: Sums, mask_rows: int, run: RunFacts) -> dict[str, Any]:
    def over(value: float, base: float | None) -> float | None:
        return round(value / base, 4) if base else None

    devices = run.wall_s * run.actors if run.wall_s and run.actors else None
    return {
        "wall_s": None if run.wall_s is None else round(run.wall_s, 3),
        "actors": run.actors,
        "frames": sums.frames,
        "track_frames": mask_rows,
        "video_hours": round(sums.video_s / 3600, 6),
        "frames_per_s": over(sums.frames, run.wall_s),
        "track_frames_per_s": over(mask_rows, run.wall_s),
        "video_hours_per_hour": over(sums.video_s, run.wall_s),
        "busy_s": None if run.busy_s is None else round(run.busy_s, 3),
        "device_busy": None if run.busy_s is None else over(run.busy_s, devices),
        "clip_s": round(sums.clip_s, 3),
        "decode_wait_s": round(sums.wait_s, 3),
        "decode_wait_share": over(sums.wait_s, sums.clip_s),
        "commits": run.commits,
        "lost_devices": run.lost_devices,
    }
