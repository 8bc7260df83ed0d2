"""The two output tables: their Arrow schemas, and rows made into Arrow.

Coordinates are pixels of the upright, full-resolution frame, origin at the top-left corner.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

Floats = Sequence[float] | np.ndarray
VERSION = "0.2.0"
"""The version of the program that writes parts now; a test compares it with the package's."""

_UNNAMED_VERSION = "0.1.0"
"""Its parts have no metadata of ours."""
_VERSION_KEY, _RUN_KEY, _CONFIG_KEY = b"siammask_batch.version", b"run_id", b"config_hash"

_BBOX = ("x", "y", "w", "h")
_RBOX = ("cx", "cy", "w", "h", "angle")
_INSTANT = pa.timestamp("us", tz="UTC")

MASKS = pa.schema(
    {
        "clip_id": pa.string(),
        "object_id": pa.string(),
        "category": pa.string(),
        "frame_index": pa.int64(),
        "pts_s": pa.float64(),
        "score": pa.float32(),
        "presence": pa.float32(),
        "state": pa.string(),
        "mask": pa.struct({"size": pa.list_(pa.int32()), "counts": pa.string()}),
        "area": pa.int64(),
        "bbox": pa.struct({name: pa.float32() for name in _BBOX}),
        "rbox": pa.struct({name: pa.float32() for name in _RBOX}),
        "corners": pa.list_(pa.float32(), 8),
        "rbox_from_mask": pa.bool_(),
    }
)
"""One row a clip, object and frame."""

TRACK = pa.struct(
    {
        "object_id": pa.string(),
        "category": pa.string(),
        "first_frame": pa.int64(),
        "last_frame": pa.int64(),
        "frames": pa.int64(),
        "lost_frames": pa.int64(),
        "mean_presence": pa.float64(),
        "mean_area": pa.float64(),
        "path_px": pa.float64(),
    }
)
"""One object of a clip, in `clips.tracks`."""

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
        "timing": pa.string(),
        "width": pa.int32(),
        "height": pa.int32(),
        "rotation": pa.int32(),
        "mirrored": pa.bool_(),
        "codec": pa.string(),
        "decoder": pa.string(),
        "tracks": pa.list_(TRACK),
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

STATES = ("tracked", "lost")
STATUSES = ("ok", "partial", "failed")
ERROR_STAGES = ("manifest", "fetch", "open", "decode", "init", "track", "write", "actor")


@dataclass(frozen=True, slots=True)
class MaskRow:
    """One row of `masks`, without its clip.

    Attributes:
        score: the tracker's, 0 to 1.
        presence: probability that the mask covers the object.
        state: one of `STATES`.
        bbox: the tracker's axis-aligned box x, y, w, h.
        rle: COCO RLE of the full frame, {"size": [height, width], "counts": ASCII text}.
        area: pixels of the mask.
        rbox: cx, cy, w, h, angle.
        corners: x1, y1, ... x4, y4.
        rbox_from_mask: whether the rotated box comes from the mask.
        category: the object's, None where the manifest has none.
    """

    object_id: str
    frame_index: int
    pts_s: float
    score: float
    presence: float
    state: str
    bbox: Floats
    rle: Mapping[str, Any]
    area: int
    rbox: Floats
    corners: Floats
    rbox_from_mask: bool
    category: str | None = None


def part_metadata(run_id: str, config_hash: str) -> dict[bytes, bytes]:
    """The schema metadata of every part that a run writes."""
    return {_VERSION_KEY: VERSION.encode(), _RUN_KEY: run_id.encode(), _CONFIG_KEY: config_hash.encode()}


def merged_metadata(schemas: Sequence[pa.Schema]) -> dict[bytes, bytes] | None:
    """The schema metadata of a part made of several of one version and configuration: it names all their runs."""
    run_ids = sorted({(schema.metadata or {}).get(_RUN_KEY, b"") for schema in schemas} - {b""})
    return {**schemas[0].metadata, _RUN_KEY: b",".join(run_ids)} if schemas[0].metadata else None


def version_of(schema: pa.Schema) -> str:
    """The version of the program that wrote a part with this schema."""
    version = (schema.metadata or {}).get(_VERSION_KEY)
    return version.decode() if version else _UNNAMED_VERSION


def clips_schema(keep: Mapping[str, pa.DataType]) -> pa.Schema:
    """The schema of `clips` with the kept manifest columns, names and types, appended in the order given.

    Raises:
        ValueError: a kept column is named like one of the table's own.
    """
    if taken := [name for name in keep if name in CLIPS.names]:
        raise ValueError(f"the clips table has a column {taken[0]!r} of its own; leave it out or rename it")
    return pa.schema([*CLIPS, *(pa.field(name, kind) for name, kind in keep.items())])


def masks_batch(clip_id: str, rows: Sequence[MaskRow]) -> pa.RecordBatch:
    """Rows of `masks` of one clip as Arrow, in the order given."""
    sizes = np.array([row.rle["size"] for row in rows], dtype=np.int32).reshape(-1)
    size_list = pa.ListArray.from_arrays(np.arange(0, len(sizes) + 1, 2, dtype=np.int32), pa.array(sizes))
    counts = pa.array([row.rle["counts"] for row in rows], pa.string())
    columns = [
        pa.array([clip_id] * len(rows), pa.string()),
        pa.array([row.object_id for row in rows], pa.string()),
        pa.array([row.category for row in rows], pa.string()),
        pa.array([row.frame_index for row in rows], pa.int64()),
        pa.array([row.pts_s for row in rows], pa.float64()),
        pa.array(np.array([row.score for row in rows], dtype=np.float32)),
        pa.array(np.array([row.presence for row in rows], dtype=np.float32)),
        pa.array([row.state for row in rows], pa.string()),
        pa.StructArray.from_arrays([size_list, counts], fields=list(MASKS.field("mask").type)),
        pa.array([row.area for row in rows], pa.int64()),
        _struct([row.bbox for row in rows], _BBOX),
        _struct([row.rbox for row in rows], _RBOX),
        pa.FixedSizeListArray.from_arrays(_matrix([row.corners for row in rows], 8).reshape(-1), 8),
        pa.array([row.rbox_from_mask for row in rows], pa.bool_()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=MASKS)


def masks_columns(rows: pa.Table | pa.RecordBatch) -> list[pa.Array | pa.ChunkedArray]:
    """The columns of `MASKS` from rows that any version wrote; null in those that it did not have."""
    return [
        rows.column(field.name) if field.name in rows.schema.names else pa.nulls(rows.num_rows, field.type)
        for field in MASKS
    ]


def clips_table(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Rows of `clips` as Arrow, a column each: what `clips_array` makes of them."""
    return pa.Table.from_arrays(clips_array(rows, schema).flatten(), schema=schema)


def clips_array(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.StructArray:
    """Rows of `clips` as Arrow; a column that a row does not have is null there.

    Args:
        rows: values by column name; in a text column other values than text become JSON.
        schema: as `clips_schema` gives it.

    Raises:
        ValueError: an unknown column, a status or error stage that is none, or a value that does not fit the
            type of its column; names the clip and the column.
    """
    kind, names, texts = _layout(schema)
    for row in rows:
        _check(row, names)
    full = [{**row, **{name: _text(row.get(name)) for name in texts}} for row in rows]
    try:
        # All columns in one conversion: a column at a time takes twice as long, for each clip that ends.
        return pa.array(full, kind)
    except _UNFIT:
        for column in schema:
            _refuse_unfit(full, column)
        raise


@cache
def _layout(schema: pa.Schema) -> tuple[pa.StructType, frozenset[str], tuple[str, ...]]:
    """The type of a row, the names of its columns, and those of text."""
    texts = tuple(column.name for column in schema if pa.types.is_string(column.type))
    return pa.struct(list(schema)), frozenset(schema.names), texts


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _check(row: Mapping[str, Any], names: Set[str]) -> None:
    clip, status, stage = row.get("clip_id"), row.get("status"), row.get("error_stage")
    if unknown := [name for name in row if name not in names]:
        raise ValueError(f"clip {clip}: the clips table has no column {unknown[0]!r}")
    if status not in STATUSES:
        raise ValueError(f"clip {clip}: status is {status!r}, not one of {STATUSES}")
    if (stage is not None) if status == "ok" else (stage not in ERROR_STAGES):
        raise ValueError(
            f"clip {clip}: status {status!r} with error_stage {stage!r}; ok has none, others one of {ERROR_STAGES}"
        )


def _refuse_unfit(rows: Sequence[Mapping[str, Any]], column: pa.Field) -> None:
    for row in rows:
        if not _fits(value := row.get(column.name), column):
            raise ValueError(
                f"clip {row.get('clip_id')}: column {column.name!r} holds {value!r}, which is no {column.type}"
            )


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


def parquet_bytes(table: pa.Table) -> bytes:
    """A table as a Parquet file, as clips parts are written."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue().to_pybytes()
