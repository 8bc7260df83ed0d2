"""Outputs written part by part, for the tests of the report."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipeline.output.schema import CLIPS, MaskRow, clips_table, masks_batch
from pipeline.output.spool import write_masks
from tests.pipeline.output_rows import Result, clip, rectangle

WIDTH, HEIGHT = 64, 48
STARTED = datetime(2026, 5, 4, 10, 0, tzinfo=UTC)
CONFIG: dict[str, Any] = {
    "run_id": "run-2",
    "started_at": "2026-05-04T10:00:00+00:00",
    "config_hash": "c" * 64,
    "options": {"manifest": "m.jsonl", "stride": 1, "rotated_box": "mbr"},
    "weights": {"name": "w", "sha256": "s" * 64, "layout": "own", "network": {"backbone": "resnet18"}},
    "placement": {"device": "cpu", "actors": [1, 2]},
    "versions": {"python": "3.11"},
}
RUN = {"run_id": "run-2", "exit_status": 0, "output": "out", "started_at": CONFIG["started_at"], "finished_at": None}


def tracked(object_id: str, frames: range, score: float = 0.5, result: Result | None = None) -> list[MaskRow]:
    """One object: its score falls, its mask is a rectangle of 160 pixels unless another is given."""
    result = result or rectangle(10, 5, 20, 8, HEIGHT, WIDTH)
    box = (10, 5, 20, 8)
    return [
        MaskRow(object_id, i, i / 25, max(0.0, score - i / 1000), 0.75, "tracked", box, *result) for i in frames
    ]


def ended(clip_id: str, status: str = "ok", *, seconds: float = 4.0, frames: int = 10, **more: Any) -> dict[str, Any]:
    """A row of `clips` of a video of 64x48 pixels and 25 frames a second."""
    values: dict[str, Any] = {
        "frames": frames,
        "start_frame": 0,
        "end_frame": frames,
        "fps": 25.0,
        "width": WIDTH,
        "height": HEIGHT,
        "started_at": STARTED,
        "finished_at": STARTED + timedelta(seconds=seconds),
        "decode_wait_s": 1.0,
        "run_id": "run-2",
    }
    return clip(clip_id, status, **{**values, **more})


class Output:
    """An output folder, written part by part."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.uri = str(folder)
        for name in ("masks", "clips", "videos"):
            (folder / name).mkdir(parents=True)

    def add(self, shard: str, clips: list[dict[str, Any]], rows: dict[str, list[MaskRow]] | None = None) -> None:
        """A commit: clips of one status and their rows."""
        masks = f"part-{shard}-0123456789ab.parquet" if rows else None
        if rows:
            write_masks(self.folder / "masks" / str(masks), (masks_batch(name, rows[name]) for name in sorted(rows)))
        ending = "" if clips[0]["status"] == "ok" else f"-{clips[0]['status']}"
        named = [{**row, "masks_part": masks if rows and row["clip_id"] in rows else None} for row in clips]
        pq.write_table(clips_table(named, CLIPS), self.folder / "clips" / f"part-{shard}-0000{ending}.parquet")

    def row(self, clip_id: str) -> dict[str, Any]:
        return next(row for row in pq.read_table(self.folder / "clips").to_pylist() if row["clip_id"] == clip_id)
