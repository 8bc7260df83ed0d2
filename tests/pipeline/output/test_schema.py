"""The tables are what the specification says, column by column, and other tools read them."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pycocotools.mask
import pytest

from pipeline.output import schema as tables
from tests.pipeline.output_rows import clip, rectangle

MASKS_COLUMNS = {
    "clip_id": "string",
    "object_id": "string",
    "category": "string",
    "frame_index": "int64",
    "pts_s": "double",
    "score": "float",
    "presence": "float",
    "state": "string",
    "mask": "struct<size: list<item: int32>, counts: string>",
    "area": "int64",
    "bbox": "struct<x: float, y: float, w: float, h: float>",
    "rbox": "struct<cx: float, cy: float, w: float, h: float, angle: float>",
    "corners": "fixed_size_list<item: float>[8]",
    "rbox_from_mask": "bool",
}
CLIPS_COLUMNS = (
    "clip_id, video_uri, status, error_stage, error_type, error_message, objects, frames, corrupt_frames,"
    " start_frame, end_frame, fps, timing, width, height, rotation, mirrored, codec, decoder, tracks, masks_part,"
    " run_id, attempt, started_at, finished_at, decode_wait_s, model, precision, config_hash, clip_hash"
)


def test_masks_schema() -> None:
    assert {field.name: str(field.type) for field in tables.MASKS} == MASKS_COLUMNS
    assert list(MASKS_COLUMNS) == tables.MASKS.names


def test_clips_schema() -> None:
    assert tables.CLIPS.names == CLIPS_COLUMNS.split(", ")
    assert tables.clips_schema({"label": pa.int64()}).names == [*tables.CLIPS.names, "label"]
    with pytest.raises(ValueError, match="'status'"):
        tables.clips_schema({"status": pa.string()})


def test_masks_rows_round_trip() -> None:
    rows = [tables.MaskRow("b", 3, 0.12, 0.25, 0.5, "tracked", (1.5, 2.5, 3.5, 4.5), *rectangle(10, 5, 20, 8), "boat")]
    box = np.array([1, 2, 3, 4])
    rows.append(tables.MaskRow("b", 4, 0.16, 1.0, 0.125, "lost", box, *rectangle(0, 0, 1, 1), "boat"))
    batch = tables.masks_batch("a", rows)
    assert batch.schema == tables.MASKS
    assert all(column.null_count == 0 for column in batch.columns)
    first, second = batch.to_pylist()
    assert first == {
        "clip_id": "a",
        "object_id": "b",
        "category": "boat",
        "frame_index": 3,
        "pts_s": 0.12,
        "score": 0.25,
        "presence": 0.5,
        "state": "tracked",
        "mask": rows[0].rle,
        "area": 160,
        "bbox": {"x": 1.5, "y": 2.5, "w": 3.5, "h": 4.5},
        "rbox": {"cx": 20, "cy": 9, "w": 20, "h": 8, "angle": 0},
        "corners": [10, 5, 30, 5, 30, 13, 10, 13],
        "rbox_from_mask": True,
    }
    decoded = pycocotools.mask.decode(first["mask"])
    assert decoded.shape == (48, 64) and decoded.sum() == 160 and decoded[5:13, 10:30].all()
    assert (second["presence"], second["state"]) == (0.125, "lost")
    assert second["bbox"] == {"x": 1, "y": 2, "w": 3, "h": 4}


def test_clips_rows_round_trip() -> None:
    schema = tables.clips_schema({"label": pa.int64(), "tags": pa.string()})
    start = datetime(2024, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    rows = [clip("007", started_at=start, label=3, tags=["a", "é"]), clip("x", "failed")]
    table = tables.clips_table(rows, schema)
    assert table.schema == schema
    first, second = table.to_pylist()
    assert (first["clip_id"], first["label"], first["tags"]) == ("007", 3, '["a", "é"]')
    assert first["started_at"] == start and first["error_stage"] is None
    assert second["error_message"] == "broken at frame 7" and second["label"] is None


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (clip("c", label="three"), r"clip c: column 'label' holds 'three', which is no int64"),
        (clip("c", frames="many"), r"clip c: column 'frames'"),
        (clip("c", width=2**40), r"clip c: column 'width'"),
        (clip("c", colour="red"), r"clip c: .* no column 'colour'"),
        (clip("c", status="fine"), r"clip c: status is 'fine'"),
        (clip("c", "failed", error_stage="parse"), r"clip c: .* error_stage 'parse'"),
        (clip("c", "ok", error_stage="open"), r"clip c: .* error_stage 'open'"),
        (clip("c", "partial", error_stage=None), r"clip c: .* error_stage None"),
    ],
)
def test_wrong_clips_rows_are_named(row: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tables.clips_table([row], tables.clips_schema({"label": pa.int64()}))
