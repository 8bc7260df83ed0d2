"""The two output tables: their Arrow schemas, and rows made into Arrow.

Coordinates are pixels of the upright, full-resolution frame, origin at the top-left corner.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

Floats = Sequence[float] | np.ndarray
KeptColumns = Mapping[str, pa.DataType] | Sequence[str]
"""Manifest columns to copy into `clips`: names with types, or names alone (text; other values as JSON)."""

_BBOX = ("x", "y", "w", "h")
_RBOX = ("cx", "cy", "w", "h", "angle")
_INSTANT = pa.timestamp("us", tz="UTC")

MASKS = pa.schema(
    {
        "clip_id": pa.string(),
        "object_id": pa.string(),
        "frame_index": pa.int64(),
        "pts_s": pa.float64(),
        "score": pa.float32(),
        "mask": pa.struct({"size": pa.list_(pa.int32()), "counts": pa.string()}),
        "area": pa.int64(),
        "bbox": pa.struct({name: pa.float32() for name in _BBOX}),
        "rbox": pa.struct({name: pa.float32() for name in _RBOX}),
        "corners": pa.list_(pa.float32(), 8),
        "rbox_from_mask": pa.bool_(),
    }
)
"""One row a clip, object and frame."""

CLIPS = pa.schema(
    {
        "clip_id": pa.string(),
        "video_uri": pa.string(),
        "status": pa.string(),
        "error_stage": pa.string(),
        "error_type": pa.string(),
        "error_message": pa.string(),
        "objects": pa.int64(),
        "frames": pa.int64(),
        "corrupt_frames": pa.int64(),
        "start_frame": pa.int64(),
        "end_frame": pa.int64(),
        "fps": pa.float64(),
        "width": pa.int32(),
        "height": pa.int32(),
        "rotation": pa.int32(),
        "codec": pa.string(),
        "decoder": pa.string(),
        "masks_part": pa.string(),
        "run_id": pa.string(),
        "attempt": pa.int32(),
        "started_at": _INSTANT,
        "finished_at": _INSTANT,
        "decode_wait_s": pa.float64(),
        "model": pa.string(),
        "precision": pa.string(),
        "config_hash": pa.string(),
        "clip_hash": pa.string(),
    }
)
"""One row a clip, without the kept manifest columns (see `clips_schema`)."""

STATUSES = ("ok", "partial", "failed")
ERROR_STAGES = ("manifest", "fetch", "open", "decode", "init", "track", "write", "actor")


class MaskResult(Protocol):
    """What becomes of a tracker's answer for one frame.

    Attributes:
        rle: COCO RLE of the full frame, {"size": [height, width], "counts": ASCII text}.
        area: pixels of the mask.
        rbox: cx, cy, w, h, angle.
        corners: x1, y1, ... x4, y4.
        rbox_from_mask: whether the rotated box comes from the mask.
    """

    @property
    def rle(self) -> Mapping[str, Any]: ...

    @property
    def area(self) -> int: ...

    @property
    def rbox(self) -> Floats: ...

    @property
    def corners(self) -> Floats: ...

    @property
    def rbox_from_mask(self) -> bool: ...


class MaskRow(Protocol):
    """One row of `masks`, without its clip: any object with these attributes. `bbox` is x, y, w, h."""

    @property
    def object_id(self) -> str: ...

    @property
    def frame_index(self) -> int: ...

    @property
    def pts_s(self) -> float: ...

    @property
    def score(self) -> float: ...

    @property
    def bbox(self) -> Floats: ...

    @property
    def finished(self) -> MaskResult: ...


def clips_schema(keep: KeptColumns = ()) -> pa.Schema:
    """The schema of `clips` with the kept manifest columns appended in the order given.

    Raises:
        ValueError: a kept column is named like one of the table's own.
    """
    kept = dict(keep) if isinstance(keep, Mapping) else dict.fromkeys(keep, pa.string())
    if taken := [name for name in kept if name in CLIPS.names]:
        raise ValueError(f"the clips table has a column {taken[0]!r} of its own; leave it out or rename it")
    return pa.schema([*CLIPS, *(pa.field(name, kind) for name, kind in kept.items())])


def empty_mask(height: int, width: int) -> dict[str, Any]:
    """The COCO RLE of a frame without a mask: {"size": [height, width], "counts": text}."""
    # One run of zeros, in the format's base 32 with a sign bit in the last digit.
    left, counts = height * width, ""
    while True:
        digit, left = left & 31, left >> 5
        more = left != 0 or bool(digit & 16)
        counts += chr(48 + (digit | 32 if more else digit))
        if not more:
            return {"size": [height, width], "counts": counts}


def masks_batch(clip_id: str, rows: Sequence[MaskRow]) -> pa.RecordBatch:
    """Rows of `masks` of one clip as Arrow, in the order given."""
    done = [row.finished for row in rows]
    sizes = np.array([one.rle["size"] for one in done], dtype=np.int32).reshape(-1)
    size_list = pa.ListArray.from_arrays(np.arange(0, len(sizes) + 1, 2, dtype=np.int32), pa.array(sizes))
    counts = pa.array([one.rle["counts"] for one in done], pa.string())
    columns = [
        pa.array([clip_id] * len(rows), pa.string()),
        pa.array([row.object_id for row in rows], pa.string()),
        pa.array([row.frame_index for row in rows], pa.int64()),
        pa.array([row.pts_s for row in rows], pa.float64()),
        pa.array(np.array([row.score for row in rows], dtype=np.float32)),
        pa.StructArray.from_arrays([size_list, counts], fields=list(MASKS.field("mask").type)),
        pa.array([one.area for one in done], pa.int64()),
        _struct([row.bbox for row in rows], _BBOX),
        _struct([one.rbox for one in done], _RBOX),
        pa.FixedSizeListArray.from_arrays(_matrix([one.corners for one in done], 8).reshape(-1), 8),
        pa.array([one.rbox_from_mask for one in done], pa.bool_()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=MASKS)


def clips_table(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Rows of `clips` as Arrow; a column that a row does not have is null there.

    Args:
        rows: values by column name; in a text column other values than text become JSON.
        schema: as `clips_schema` gives it.

    Raises:
        ValueError: an unknown column, a status or error stage that is none, or a value that does not fit the
            type of its column; names the clip and the column.
    """
    for row in rows:
        _check(row, schema)
    return pa.Table.from_arrays([_column(rows, column) for column in schema], schema=schema)


def _check(row: Mapping[str, Any], schema: pa.Schema) -> None:
    clip, status, stage = row.get("clip_id"), row.get("status"), row.get("error_stage")
    if unknown := [name for name in row if name not in schema.names]:
        raise ValueError(f"clip {clip}: the clips table has no column {unknown[0]!r}")
    if status not in STATUSES:
        raise ValueError(f"clip {clip}: status is {status!r}, not one of {STATUSES}")
    if (stage is not None) if status == "ok" else (stage not in ERROR_STAGES):
        raise ValueError(
            f"clip {clip}: status {status!r} with error_stage {stage!r}; ok has none, others one of {ERROR_STAGES}"
        )


def _column(rows: Sequence[Mapping[str, Any]], column: pa.Field) -> pa.Array:
    values = [row.get(column.name) for row in rows]
    if pa.types.is_string(column.type):
        values = [
            value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            for value in values
        ]
    try:
        return pa.array(values, column.type)
    except _UNFIT as error:
        row, value = next((row, value) for row, value in zip(rows, values, strict=True) if not _fits(value, column))
        raise ValueError(
            f"clip {row.get('clip_id')}: column {column.name!r} holds {value!r}, which is no {column.type}"
        ) from error


_UNFIT = (pa.ArrowException, TypeError, ValueError, OverflowError)


def _fits(value: Any, column: pa.Field) -> bool:
    try:
        pa.array([value], column.type)
    except _UNFIT:
        return False
    return True


def _matrix(values: Sequence[Floats], width: int) -> np.ndarray:
    return np.array(values, dtype=np.float32).reshape(-1, width)


def _struct(values: Sequence[Floats], names: Sequence[str]) -> pa.StructArray:
    table = _matrix(values, len(names))
    return pa.StructArray.from_arrays(
        [pa.array(np.ascontiguousarray(table[:, i])) for i in range(len(names))], names=list(names)
    )
