"""One clip's rows of `masks` for a report: its score and area over time, and its objects in chosen frames.

Rows are read in a stream; what is kept of a clip is bounded, however long it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray

from model.video.overlay import PALETTE, TrackedObject
from pipeline import storage
from pipeline.output.names import MASKS_FOLDER
from pipeline.output.schema import MASKS

BINS = 200
"""Most points of a curve; a longer clip has means over neighbouring frames."""
CURVES = len(PALETTE)
"""Most objects with a curve, in the order of their ids: each has a colour of its own."""
_BATCH_ROWS = 4096


@dataclass(slots=True)
class Curve:
    """An object's score and area over the clip, in bins of neighbouring frames; bins without a row are left out.

    Attributes:
        object_id: the object.
        rows: its rows.
        rows_in_bin: float64 [n].
        frame: float64 [n], mean frame index of a bin.
        score, score_low: float64 [n], mean and least score.
        area: float64 [n], mean area in pixels.
        lost: float64 [n], share of the rows with the state `lost`.
        mean_presence: over all rows; None where the part has no such column.
    """

    object_id: str
    rows: int
    rows_in_bin: NDArray[np.float64]
    frame: NDArray[np.float64]
    score: NDArray[np.float64]
    score_low: NDArray[np.float64]
    area: NDArray[np.float64]
    lost: NDArray[np.float64]
    mean_presence: float | None

    @property
    def lost_rows(self) -> int:
        """Rows with the state `lost`."""
        return round(float(self.lost @ self.rows_in_bin))

    @property
    def least_score(self) -> float:
        """The least score of any row."""
        return float(self.score_low.min())


@dataclass(slots=True)
class ClipTracks:
    """What a report shows of a clip's rows.

    Attributes:
        object_ids: all objects that have rows, sorted.
        curves: of the first `CURVES` of them.
        frames: the first frame of each bin that has rows, to choose frames from.
    """

    object_ids: list[str] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    frames: list[int] = field(default_factory=list)


@dataclass(slots=True)
class FrameRows:
    """The objects of one frame, sorted by id, and its time in seconds."""

    pts_s: float
    objects: list[TrackedObject] = field(default_factory=list)


def read_tracks(output: str, clip: dict[str, Any]) -> ClipTracks:
    """The curves of a clip.

    Args:
        output: URI of the output folder.
        clip: its row of `clips`, not one of a failed clip.

    Raises:
        StorageError: its masks part cannot be read.
    """
    start, end = clip["start_frame"], clip["end_frame"]
    length = max(1, end - start)
    bins = min(BINS, length)
    sums: dict[str, _Binned] = {}
    none = np.iinfo(np.int64).max
    first = np.full(bins, none)
    for batch in _batches(output, clip, ["object_id", "frame_index", "score", "area", "presence", "state"]):
        frames = batch["frame_index"].to_numpy()
        lost = pc.fill_null(pc.equal(batch["state"], "lost"), False)
        values = np.stack(
            [np.asarray(column, np.float64) for column in (batch["score"], batch["area"], lost, batch["presence"])]
        )
        places = np.clip((frames - start) * bins // length, 0, bins - 1)
        np.minimum.at(first, places, frames)
        names = batch["object_id"].dictionary_encode()
        codes = names.indices.to_numpy()
        for code, name in enumerate(names.dictionary.to_pylist()):
            selected = codes == code
            if name in sums or len(sums) < CURVES:
                sums.setdefault(name, _Binned(bins)).add(places[selected], frames[selected], values[:, selected])
            else:
                sums.setdefault(name, _Binned(0))
    objects = sorted(sums)
    curves = [sums[name].curve(name) for name in objects if len(sums[name].count)]
    return ClipTracks(objects, curves, [int(frame) for frame in first if frame != none])


def read_frames(output: str, clip: dict[str, Any], frames: Sequence[int]) -> dict[int, FrameRows]:
    """The objects of a few frames of a clip, by frame index.

    Raises:
        StorageError: its masks part cannot be read.
    """
    frames_by_index: dict[int, FrameRows] = {}
    columns = ["object_id", "frame_index", "pts_s", "score", "mask", "corners", "state"]
    wanted = pc.field("frame_index").isin(pa.array(list(frames), pa.int64()))
    for batch in _batches(output, clip, columns, wanted):
        for row in batch.to_pylist():
            frame_rows = frames_by_index.setdefault(row.pop("frame_index"), FrameRows(row["pts_s"]))
            del row["pts_s"]
            frame_rows.objects.append(TrackedObject(**row))
    for frame_rows in frames_by_index.values():
        frame_rows.objects.sort(key=lambda item: item.object_id)
    return frames_by_index


class _Binned:
    """Sums of one object's rows by bin."""

    def __init__(self, bins: int) -> None:
        self.count, self._frame, *self._sums = np.zeros((6, bins))
        self._low = np.full(bins, np.inf)

    def add(self, places: NDArray[Any], frames: NDArray[Any], values: NDArray[Any]) -> None:
        """Take rows; `values` are score, area, whether lost, and presence, float64 [4, n]."""
        if len(self.count):
            for into, added in zip((self.count, self._frame, *self._sums), (1, frames, *values), strict=True):
                np.add.at(into, places, added)
            np.minimum.at(self._low, places, values[0])

    def curve(self, object_id: str) -> Curve:
        has = self.count > 0
        count = self.count[has]
        rows = int(count.sum())
        frame, score, area, lost = (values[has] / count for values in (self._frame, *self._sums[:3]))
        presence = float(self._sums[3].sum() / rows)
        known = None if np.isnan(presence) else presence
        return Curve(object_id, rows, count, frame, score, self._low[has], area, lost, known)


def _batches(
    output: str, clip: dict[str, Any], columns: list[str], also: pc.Expression | None = None
) -> Iterator[pa.RecordBatch]:
    uri = storage.join(output, MASKS_FOLDER, clip["masks_part"])
    filesystem, path = storage.filesystem_for(uri)
    wanted = pc.field("clip_id") == clip["clip_id"]
    with storage.reporting(uri, "read"):
        scanner = ds.dataset(path, schema=MASKS, filesystem=filesystem, format="parquet").scanner(
            columns=columns,
            filter=wanted if also is None else wanted & also,
            batch_size=_BATCH_ROWS,
            batch_readahead=1,
            fragment_readahead=1,
            use_threads=False,
        )
        yield from scanner.to_batches()
