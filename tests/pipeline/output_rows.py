"""Rows for the tests of the output tables: masks that pycocotools made, clips that ended in each way."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
import pycocotools.mask

from pipeline.output.schema import MaskRow


class Result(NamedTuple):
    """What becomes of one mask: the last five fields of a `MaskRow`."""

    rle: dict[str, Any]
    area: int
    rbox: tuple[float, ...]
    corners: tuple[float, ...]
    rbox_from_mask: bool


def rectangle(x: int, y: int, w: int, h: int, height: int = 48, width: int = 64) -> Result:
    """A mask that fills a rectangle."""
    mask = np.zeros((height, width), np.uint8, order="F")
    mask[y : y + h, x : x + w] = 1
    rle = pycocotools.mask.encode(mask)
    counts = rle["counts"].decode("ascii")
    corners = (x, y, x + w, y, x + w, y + h, x, y + h)
    rbox = (x + w / 2, y + h / 2, w, h, 0.0)
    return Result({"size": [height, width], "counts": counts}, int(mask.sum()), rbox, corners, True)


def track(object_id: str, frames: int, first: int = 0) -> Iterator[MaskRow]:
    """One object that stands still."""
    result = rectangle(10, 5, 20, 8)
    for frame in range(first, first + frames):
        yield MaskRow(object_id, frame, frame / 25, 0.5, 0.75, "tracked", (10.0, 5.0, 20.0, 8.0), *result)


def clip(clip_id: str, status: str = "ok", **more: Any) -> dict[str, Any]:
    """A `clips` row."""
    error = (
        {}
        if status == "ok"
        else {"error_stage": "decode", "error_type": "InvalidData", "error_message": "broken at frame 7"}
    )
    now = datetime.now(UTC)
    return {
        "clip_id": clip_id,
        "video_uri": f"videos/{clip_id}.mp4",
        "status": status,
        "objects": 1,
        "frames": 3,
        "corrupt_frames": 0,
        "started_at": now,
        "finished_at": now,
        "model": "siammask-r18",
        "precision": "fp32",
        "clip_hash": hashlib.sha256(clip_id.encode()).hexdigest(),
        **error,
        **more,
    }
