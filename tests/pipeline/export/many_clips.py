"""An output with many clips whose masks are long texts, to measure what an export holds in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pycocotools import mask as coco

from pipeline.output.schema import CLIPS, MASKS


def write_many(output: Path, *, clips: int, objects: int, frames: int) -> None:
    """Clips whose masks are long texts."""
    counts = coco.encode(np.asfortranarray(np.indices((64, 64)).sum(0) // 8 % 2, np.uint8))["counts"].decode()
    row = {"score": 0.5, "area": 2048, "mask": {"size": [64, 64], "counts": counts}, "corners": [0.0] * 8}
    for name in ("masks", "clips"):
        (output / name).mkdir(parents=True)
    described = []
    with pq.ParquetWriter(output / "masks" / "part-s-x.parquet", MASKS) as file:
        for clip_id in (f"c{number:04d}" for number in range(clips)):
            keys = [(f"{item:03d}", frame) for item in range(objects) for frame in range(frames)]
            rows = [{**row, "clip_id": clip_id, "object_id": item, "frame_index": frame} for item, frame in keys]
            file.write_table(pa.Table.from_pylist(rows, MASKS))
            clip = {"clip_id": clip_id, "status": "ok", "masks_part": "part-s-x.parquet", "width": 64, "height": 64}
            described.append({**clip, "start_frame": 0, "end_frame": frames, "video_uri": "v.mp4", "run_id": "r"})
    pq.write_table(pa.Table.from_pylist(described, CLIPS), output / "clips" / "part-s-0000.parquet")
