"""Open the output of a run for reading: `open_run`."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from pipeline import storage
from pipeline.output.names import CLIPS_FOLDER, MASKS_FOLDER, STATUSES
from pipeline.output.video_place import find_video
from pipeline.reading.committed import PART, Committed
from pipeline.reading.errors import NoSuchClip
from pipeline.reading.known_objects import check_objects
from pipeline.reading.rows import Rows
from pipeline.reading.run_clip import RunClip
from pipeline.reading.videos import manifest_folders

if TYPE_CHECKING:
    import duckdb

Ids = str | Sequence[str]
Frames = int | tuple[int | None, int | None]
"""One frame, or a half-open range whose ends may be None."""


def open_run(uri: str, *, videos: str | None = None) -> Run:
    """Opens the output of `jobs/segment.py` as it is now, finished, under way or cut off.

    Args:
        uri: the output folder, local or `s3://`.
        videos: the folder that relative `video_uri`s are taken from, where it is no longer that of the manifest.

    Raises:
        NoSuchRun: there is no output at this URI.
        StorageError: it cannot be read; names the URI and the cause.
    """
    return Run(Committed.in_output(storage.parse(uri).uri), videos)


@dataclass(frozen=True, repr=False)
class Run:
    """What an output held when it was opened: the rows that are committed, and no others.

    Later commits are seen by opening it again. A run that goes on may remove files (`--retry-failed`, recovery after
    a kill); reading them is then a `NotFound` that is cured by opening it again.
    """

    committed: Committed
    videos: str | None = None

    def __len__(self) -> int:
        """How many clips have ended."""
        return len(self.clip_ids)

    def __repr__(self) -> str:
        return f"Run({storage.redact(self.uri)!r}, {len(self)} clips)"

    @property
    def uri(self) -> str:
        """The output folder."""
        return self.committed.output

    def clips(
        self,
        *,
        clip_id: Ids | None = None,
        status: Ids | None = None,
        columns: Sequence[str] | None = None,
        where: pc.Expression | None = None,
    ) -> Rows:
        """Rows of `clips`: one a clip that ended.

        Args:
            clip_id, status: only these.
            columns: only these columns, in this order.
            where: any other condition, as a pyarrow expression.

        Raises:
            ValueError: a column that the table has not, or a status that no clip can have.
        """
        if unknown := [name for name in _listed(status or ()) if name not in STATUSES]:
            raise ValueError(f"no clip has the status {unknown[0]!r}; there are {', '.join(STATUSES)}")
        conditions = [_among("clip_id", clip_id), _among("status", status), where]
        return self._rows(self.committed.clips, CLIPS_FOLDER, columns, conditions)

    def masks(
        self,
        *,
        clip_id: Ids | None = None,
        object_id: Ids | None = None,
        frames: Frames | None = None,
        columns: Sequence[str] | None = None,
        where: pc.Expression | None = None,
    ) -> Rows:
        """Rows of `masks`: one a clip, object and frame.

        Args:
            clip_id: only these; clips that have not ended have no rows.
            object_id: only these.
            frames: one frame, or a half-open range; frames of the source video.
            columns: only these columns, in this order.
            where: any other condition, as a pyarrow expression: `pyarrow.compute.field("score") < 0.5`.

        Raises:
            ValueError: a column that the table has not.
            NoSuchObject: the run, or none of these clips, has masks of such an object.
        """
        if object_id is not None:
            check_objects(self.committed, _listed(object_id), None if clip_id is None else _listed(clip_id))
        conditions = [_among("clip_id", clip_id), _among("object_id", object_id), where]
        if clip_id is not None:
            conditions.append(self.committed.in_masks_of(_listed(clip_id)))
        if frames is not None:
            first, last = (frames, frames + 1) if isinstance(frames, int) else frames
            conditions.append(None if first is None else pc.field("frame_index") >= first)
            conditions.append(None if last is None else pc.field("frame_index") < last)
        return self._rows(self.committed.masks, MASKS_FOLDER, columns, conditions)

    def duckdb(self, connection: duckdb.DuckDBPyConnection | None = None) -> duckdb.DuckDBPyConnection:
        """A DuckDB connection with the views `clips` and `masks`, a new one in memory where none is given."""
        import duckdb

        connected = connection or duckdb.connect()
        self.clips().duckdb(connected).create_view(CLIPS_FOLDER)
        self.masks().duckdb(connected).create_view(MASKS_FOLDER)
        return connected

    def clip(self, clip_id: str) -> RunClip:
        """One clip.

        Raises:
            NoSuchClip: no clip of this id is committed.
        """
        rows = self.clips(clip_id=clip_id).arrow().to_pylist()
        if not rows:
            near = difflib.get_close_matches(clip_id, self.clip_ids[:10_000], n=1)
            raise NoSuchClip(
                f"{storage.redact(self.uri)} has no clip {clip_id!r} among its {len(self.clip_ids)}"
                + (f"; did you mean {near[0]!r}?" if near else "")
            )
        return self._clip(rows[0])

    def each_clip(self, clip_ids: Sequence[str]) -> Iterator[RunClip]:
        """These clips, in the order of the files; those that are not there are left out."""
        for batch in self.clips(clip_id=clip_ids).batches():
            yield from map(self._clip, batch.to_pylist())

    @cached_property
    def clip_ids(self) -> list[str]:
        """The ids of all clips, in the order of the files."""
        return self.committed.index["clip_id"].to_pylist()

    def _clip(self, row: dict[str, Any]) -> RunClip:
        return RunClip(self.uri, row, self.video_of(row))

    def video_of(self, row: Mapping[str, Any]) -> str | None:
        """The absolute URI of the video of a row of `clips`; None where it cannot be told."""
        folders = (self.videos,) if self.videos is not None else manifest_folders(self.uri, row["run_id"])
        return find_video(row["video_uri"], folders)

    def _rows(
        self, dataset: ds.Dataset, folder: str, columns: Sequence[str] | None, conditions: list[pc.Expression | None]
    ) -> Rows:
        known = [name for name in dataset.schema.names if name != PART]
        if unknown := [name for name in columns or () if name not in known]:
            raise ValueError(f"the table {folder} has no column {unknown[0]!r}; it has {', '.join(known)}")
        for condition in conditions:
            dataset = dataset if condition is None else dataset.filter(condition)
        return Rows(dataset, tuple(columns or known), storage.join(self.uri, folder))


def _listed(ids: Ids) -> list[str]:
    return [ids] if isinstance(ids, str) else list(ids)


def _among(column: str, ids: Ids | None) -> pc.Expression | None:
    if ids is None:
        return None
    if isinstance(ids, str):
        return pc.field(column) == ids
    return pc.field(column).isin(pa.array(list(ids), pa.string()))
