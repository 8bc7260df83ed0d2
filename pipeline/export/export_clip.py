"""The clips of a run one after another, each whole in memory and none but it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.export.options import Split
from pipeline.output.names import MASKS_FOLDER
from pipeline.output.schema import MASKS, masks_columns
from pipeline.reading.clip_masks import ClipMasks
from pipeline.reading.opened_run import Run

_BATCH_ROWS = 4096


@dataclass(frozen=True)
class ExportClip:
    """A clip as the formats see it.

    A format's frames are those of the clip's range that were to be tracked: every stride-th, with rows or without.
    Where pictures are written, they are the frames that have one.

    Attributes:
        tracks: its rows of both tables.
        run: the run that it is a clip of.
        include_lost: whether rows of the state `lost` count; without them their frames are as if without a row.
        split: the part of a data set for training that it goes into.
        pictured: the frames that have a picture, ascending; None where no pictures are written.
    """

    tracks: ClipMasks
    run: Run
    include_lost: bool = False
    split: Split = "train"
    pictured: tuple[int, ...] | None = None

    @property
    def clip_id(self) -> str:
        return self.tracks.clip["clip_id"]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the upright frame in pixels."""
        return self.tracks.clip["height"], self.tracks.clip["width"]

    @property
    def fps(self) -> float:
        """Frames of the source video a second; 25 where it does not say."""
        return self.tracks.clip["fps"] or 25.0

    @property
    def whole_fps(self) -> int:
        """The clip's own frames a second, for the formats that have it as a whole number."""
        return max(1, round(self.fps / self.stride))

    @cached_property
    def video(self) -> str | None:
        """The absolute URI of its video; None where it cannot be told."""
        return self.run.video_of(self.tracks.clip)

    @property
    def stride(self) -> int:
        """Source frames between two of the clip's."""
        return self.tracks.stride

    @property
    def tracked_range(self) -> range:
        """Indices in the source video of the frames that were to be tracked."""
        return range(self.tracks.clip["start_frame"], self.tracks.clip["end_frame"], self.stride)

    @property
    def frames(self) -> Sequence[int]:
        """Indices in the source video of the format's frames, ascending."""
        return self.tracked_range if self.pictured is None else self.pictured

    def frames_with_objects(self) -> list[int]:
        """The frames in which an object has mask pixels, ascending."""
        seen = pc.field("area") > 0
        if not self.include_lost:
            seen = seen & (pc.field("state").is_null() | (pc.field("state") != "lost"))
        return sorted(set(self.tracks.table.filter(seen)["frame_index"].to_pylist()))

    @property
    def object_ids(self) -> list[str]:
        """The clip's objects, sorted; an object's number in a format is its place here, from 1."""
        return self.tracks.object_ids

    @cached_property
    def categories(self) -> dict[str, str | None]:
        """The category of each object, None where it has none."""
        pairs = self.tracks.table.group_by(["object_id"]).aggregate([("category", "min")])
        return dict(zip(pairs["object_id"].to_pylist(), pairs["category_min"].to_pylist(), strict=True))

    def rows_of(self, frame: int) -> list[dict[str, Any]]:
        """A frame's rows that count, in order of their objects' ids."""
        return [row for row in self.tracks.rows_of(frame) if self._counts(row)]

    def rows_of_object(self, object_id: str) -> dict[int, dict[str, Any]]:
        """An object's rows that count, by frame."""
        rows = self.tracks.table.filter(pc.field("object_id") == object_id)
        return {row["frame_index"]: row for row in rows.to_pylist() if self._counts(row)}

    def _counts(self, row: dict[str, Any]) -> bool:
        return self.include_lost or row["state"] != "lost"

    def describe(self) -> dict[str, Any]:
        """Which numbers stand for which objects and frames; `frames` where the range has others without a picture."""
        described = {
            "clip_id": self.clip_id,
            "video_uri": self.tracks.clip["video_uri"],
            "objects": self.object_ids,
            "categories": [self.categories.get(object_id) for object_id in self.object_ids],
            "start_frame": self.tracked_range.start,
            "end_frame": self.tracked_range.stop,
            "stride": self.stride,
        }
        if list(self.frames) != list(self.tracked_range):
            described["frames"] = list(self.frames)
        return described


def has_area(box: Mapping[str, float]) -> bool:
    """Whether a box is more than a hundredth of a pixel wide and high, which is as fine as text has it."""
    return min(box["w"], box["h"]) >= 0.01


def each_clip(run: Run, clip_ids: Sequence[str], *, include_lost: bool = False) -> Iterator[ExportClip]:
    """The clips with rows, file by file as they lie in the output. A file is read once, from front to back.

    Raises:
        StorageError: a file cannot be read.
    """
    index = run.committed.index.filter(pc.field("clip_id").isin(pa.array(clip_ids, pa.string())))
    for part in run.committed.masks_parts:
        wanted = index.filter(pc.field("masks_part") == part)["clip_id"].to_pylist()
        if not wanted:
            continue
        described = {row["clip_id"]: row for row in run.clips(clip_id=wanted).arrow().to_pylist()}
        uri = storage.join(run.uri, MASKS_FOLDER, part)
        filesystem, path = storage.filesystem_for(uri)
        with storage.reporting(uri, "read"), pq.ParquetFile(path, filesystem=filesystem) as file:
            for clip_id, rows in _by_clip(file.iter_batches(_BATCH_ROWS)):
                if clip_id in described:
                    table = pa.table(masks_columns(rows), MASKS)
                    yield ExportClip(ClipMasks.sort(described[clip_id], table), run, include_lost)


def _by_clip(batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[str, pa.Table]]:
    """Rows that follow each other and are of one clip, as one table; the file is sorted by clip."""
    clip_id = ""
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        for value in dict.fromkeys(batch["clip_id"].to_pylist()):
            if value != clip_id and waiting:
                yield clip_id, pa.Table.from_batches(waiting)
                waiting = []
            clip_id = value
            waiting.append(batch.filter(pc.field("clip_id") == value))
    if waiting:
        yield clip_id, pa.Table.from_batches(waiting)
