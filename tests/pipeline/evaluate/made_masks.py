"""An output and a truth of known masks, as tables on disk, for the tests of scores."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pycocotools import mask as coco

from pipeline.output.schema import CLIPS, MaskRow, clips_table, masks_batch
from tests.pipeline.output_rows import Result, clip

Masks = Mapping[int, Mapping[str, np.ndarray]]
"""uint8 [H, W] by frame and object."""


def rle(mask: np.ndarray) -> dict:
    found = coco.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": list(found["size"]), "counts": found["counts"].decode("ascii")}


def square(x: int, y: int = 20, side: int = 20, size: tuple[int, int] = (60, 100)) -> np.ndarray:
    mask = np.zeros(size, np.uint8)
    mask[max(0, y) : max(0, y + side), max(0, x) : max(0, x + side)] = 1
    return mask


def write_output(folder: Path, clips: Mapping[str, Masks], scores: Mapping[str, float] | None = None) -> None:
    """Write the tables of a run; `scores` by object id, else 0.5."""
    (folder / "masks").mkdir(parents=True)
    (folder / "clips").mkdir()
    batches, rows = [], []
    for clip_id, frames in sorted(clips.items()):
        of_clip = [
            MaskRow(
                object_id,
                frame,
                frame / 25,
                (scores or {}).get(object_id, 0.5),
                0.75,
                "tracked",
                (0.0, 0.0, 1.0, 1.0),
                *Result(rle(mask), int(mask.sum()), (0.0, 0.0, 1.0, 1.0, 0.0), (0.0,) * 8, True),
            )
            for frame, objects in sorted(frames.items())
            for object_id, mask in sorted(objects.items())
        ]
        of_clip.sort(key=lambda row: (row.object_id, row.frame_index))
        batches.append(masks_batch(clip_id, of_clip))
        rows.append(clip(clip_id, masks_part="part-s1-0123456789ab.parquet"))
    pq.write_table(pa.Table.from_batches(batches), folder / "masks" / "part-s1-0123456789ab.parquet")
    pq.write_table(clips_table(rows, CLIPS), folder / "clips" / "part-s1-0001.parquet")


def write_truth(
    folder: Path, sequences: Mapping[str, Masks], split: str = "val", categories: Mapping[str, str] | None = None
) -> None:
    """Write masks.parquet, all of one split; `categories` by object id."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "sequence": sequence,
            "split": split,
            "frame_index": frame,
            "object_id": object_id,
            "mask": rle(mask),
            **({"category": categories[object_id]} if categories else {}),
        }
        for sequence, frames in sequences.items()
        for frame, objects in frames.items()
        for object_id, mask in objects.items()
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "masks.parquet")
