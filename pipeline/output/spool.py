"""Rows wait on the local disk until their clip is finished, then leave in sorted order as one Parquet file.

Rows are born frame by frame across many clips, but a part is sorted by clip, object and frame. Each object of a
clip collects rows in a file of its own, a few hundred at a time; no file stays open. An object that ends with so few
rows that it has no file keeps them in memory, as long as all such rows together stay small. Memory grows with the
number of objects in progress, never with the length of a clip.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.output.schema import MASKS, MaskRow, masks_batch

BUFFERED_ROWS = 256
BUFFERED_BYTES = 512 << 10
KEPT_BYTES = 8 << 20
"""Rows of finished clips without a file, all together: a file would cost a short clip more than its rows do."""
ROW_GROUP_ROWS = 64 << 10
ROW_GROUP_BYTES = 32 << 20

_SORTED_BY = ("clip_id", "object_id", "frame_index")
_DICTIONARY = ["clip_id", "object_id", "category", "state", "mask.size.list.element", "rbox_from_mask"]
_SPOOLED = pa.ipc.IpcWriteOptions(compression="zstd", use_threads=False)
_STATISTICS = ["clip_id", "object_id", "category", "frame_index", "pts_s", "score", "presence", "state", "area"]


class Spool:
    """The waiting rows of one shard. Clips may be fed from several threads, each clip from one at a time.

    Args:
        folder: an empty local folder of this spool's own; must exist.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._objects: dict[str, dict[str, _Object]] = {}
        self._files = 0
        self._kept_bytes = 0
        self._lock = threading.Lock()

    def add(self, clip_id: str, rows: Iterable[MaskRow]) -> None:
        """Takes rows of a clip as they come; those of one object in the order of their frames.

        Raises:
            ValueError: a frame of an object came twice or out of order.
            StorageError: the local disk is full or broken.
        """
        for row in rows:
            self._object(clip_id, row.object_id).add(row)

    def finish(self, clip_id: str) -> int:
        """Puts away what is still in memory of a clip; returns how many rows the clip has."""
        waiting = self._of(clip_id)
        for track in waiting.values():
            with self._lock:
                room = KEPT_BYTES - self._kept_bytes
            kept = track.finish(room)
            with self._lock:
                self._kept_bytes += kept
        return sum(track.rows for track in waiting.values())

    def discard(self, clip_id: str) -> None:
        """Drops a clip's rows and files."""
        with self._lock:
            dropped = self._objects.pop(clip_id, {})
        for track in dropped.values():
            with self._lock:
                self._kept_bytes -= track.kept_bytes
            if track.in_file:
                track.path.unlink(missing_ok=True)

    def assemble(
        self, clip_ids: Iterable[str], path: Path, metadata: Mapping[bytes, bytes] | None = None
    ) -> dict[str, int]:
        """Writes the rows of finished clips, sorted by clip, object and frame, to one Parquet file.

        Args:
            clip_ids: the clips.
            path: the file.
            metadata: of the file's schema.

        Returns:
            Rows by clip; clips without rows are left out. No file is written where no clip has any.
        """
        objects = [
            (clip_id, object_id, track)
            for clip_id in sorted(clip_ids)
            for object_id, track in sorted(self._of(clip_id).items())
        ]
        counts: dict[str, int] = {}
        for clip_id, _, track in objects:
            counts[clip_id] = counts.get(clip_id, 0) + track.rows
        if objects:
            with storage.reporting(str(path), "write"):
                write_masks(path, (batch for *_, track in objects for batch in track.read()), metadata)
        return counts

    def _of(self, clip_id: str) -> dict[str, _Object]:
        with self._lock:
            return dict(self._objects.get(clip_id, {}))

    def _object(self, clip_id: str, object_id: str) -> _Object:
        with self._lock:
            objects = self._objects.setdefault(clip_id, {})
            if object_id not in objects:
                self._files += 1
                objects[object_id] = _Object(clip_id, self._folder / f"{self._files:06d}.arrows")
            return objects[object_id]


def write_masks(path: Path, batches: Iterable[pa.RecordBatch], metadata: Mapping[bytes, bytes] | None = None) -> None:
    """Writes sorted batches of `masks` to a Parquet file in row groups of at most 64k rows or about 32 MiB.

    Args:
        path: the file.
        batches: of the schema `MASKS`.
        metadata: of the file's schema.
    """
    with pq.ParquetWriter(
        path,
        MASKS.with_metadata(metadata),
        compression="zstd",
        compression_level=3,
        use_dictionary=_DICTIONARY,
        write_statistics=_STATISTICS,
        sorting_columns=pq.SortingColumn.from_ordering(MASKS, [(name, "ascending") for name in _SORTED_BY]),
    ) as writer:
        for group in _row_groups(batches):
            writer.write_table(pa.Table.from_batches(group), row_group_size=ROW_GROUP_ROWS)
            del group  # or it would live until the next one is whole


def _row_groups(batches: Iterable[pa.RecordBatch]) -> Iterator[list[pa.RecordBatch]]:
    group: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        if group and (rows + batch.num_rows > ROW_GROUP_ROWS or size + batch.nbytes > ROW_GROUP_BYTES):
            yield group
            group, rows, size = [], 0, 0
        group.append(batch)
        rows, size = rows + batch.num_rows, size + batch.nbytes
    if group:
        yield group


class _Object:
    """The waiting rows of one object of one clip: a file of Arrow streams, one after another, and a buffer.

    The buffer becomes a batch in memory where the object ends without a file.
    """

    __slots__ = ("_batch", "_buffer", "_buffered_bytes", "_last_frame", "clip_id", "in_file", "path", "rows")

    def __init__(self, clip_id: str, path: Path) -> None:
        self.clip_id = clip_id
        self.path = path
        self.rows = 0
        self.in_file = False
        self._batch: pa.RecordBatch | None = None
        self._buffer: list[MaskRow] = []
        self._buffered_bytes = 0
        self._last_frame: int | None = None

    def add(self, row: MaskRow) -> None:
        if self._last_frame is not None and row.frame_index <= self._last_frame:
            raise ValueError(
                f"clip {self.clip_id}, object {row.object_id}: frame {row.frame_index} came after frame"
                f" {self._last_frame}; each frame must come once and in order"
            )
        self._last_frame = row.frame_index
        self._buffer.append(row)
        self._buffered_bytes += len(row.rle["counts"])
        self.rows += 1
        if len(self._buffer) >= BUFFERED_ROWS or self._buffered_bytes >= BUFFERED_BYTES:
            self.flush()

    @property
    def kept_bytes(self) -> int:
        return 0 if self._batch is None else self._batch.nbytes

    def finish(self, room: int) -> int:
        """Puts the last rows into the file, or keeps them where there is none and `room` is enough; returns the bytes
        kept."""
        if self.in_file or not self._buffer:
            self.flush()
            return 0
        batch = masks_batch(self.clip_id, self._buffer)
        if batch.nbytes > room:
            self.flush()
            return 0
        self._batch, self._buffer, self._buffered_bytes = batch, [], 0
        return batch.nbytes

    def flush(self) -> None:
        if not self._buffer:
            return
        batch = masks_batch(self.clip_id, self._buffer)
        self.in_file = True
        with (
            storage.reporting(str(self.path), "write"),
            open(self.path, "ab") as file,
            pa.ipc.new_stream(file, MASKS, options=_SPOOLED) as stream,
        ):
            stream.write_batch(batch)
        self._buffer, self._buffered_bytes = [], 0

    def read(self) -> Iterator[pa.RecordBatch]:
        if self._batch is not None:
            yield self._batch
        if not self.in_file:
            return
        end = self.path.stat().st_size
        with pa.OSFile(str(self.path)) as file:
            while file.tell() < end:
                with pa.ipc.open_stream(file) as stream:
                    yield from stream
