"""Readers of the training sets: DAVIS-2016 as video files with a mask table, and folders of annotated stills."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pyarrow.parquet as pq
from pycocotools import mask as coco_mask

from model.training.store import Picture


def decode_rle(rle: dict[str, Any]) -> np.ndarray:
    """COCO RLE {"size": [h, w], "counts": str} to a mask uint8 [h, w] of 0 and 1."""
    counts = rle["counts"]
    counts = counts.encode("ascii") if isinstance(counts, str) else counts
    return coco_mask.decode({"size": [int(side) for side in rle["size"]], "counts": counts})


def read_frames(path: Path) -> Iterator[np.ndarray]:
    """Frames uint8 [H, W, 3] BGR of a video file, in order."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="bgr24")


def sequence_masks(folder: Path, split: str) -> dict[str, dict[int, dict[str, np.ndarray]]]:
    """Masks uint8 [h, w] by sequence, frame index and object of one split of `folder`/masks.parquet."""
    table = pq.read_table(folder / "masks.parquet", filters=[("split", "=", split)])
    found: dict[str, dict[int, dict[str, np.ndarray]]] = defaultdict(lambda: defaultdict(dict))
    for row in table.to_pylist():
        found[row["sequence"]][row["frame_index"]][str(row["object_id"])] = decode_rle(row["mask"])
    return found


def sequence_rows(folder: Path, split: str) -> list[dict[str, Any]]:
    """Rows of `folder`/sequences.parquet of one split, by name."""
    table = pq.read_table(folder / "sequences.parquet", filters=[("split", "=", split)])
    return sorted(table.to_pylist(), key=lambda row: row["sequence"])


def davis_pictures(folder: Path, *, split: str = "train", stride: int = 1) -> Iterator[Picture]:
    """Every `stride`-th annotated frame of the sequences of one split."""
    masks = sequence_masks(folder, split)
    for row in sequence_rows(folder, split):
        by_frame = masks[row["sequence"]]
        for index, pixels in enumerate(read_frames(folder / row["video"])):
            if index % stride or index not in by_frame:
                continue
            objects = by_frame[index]
            yield Picture(pixels, tuple(objects.values()), tuple(objects), row["sequence"], index, True)


def still_pictures(table_path: Path) -> Iterator[Picture]:
    """The pictures of a table of instances (columns image, instance, mask); image paths are relative to the table.

    Raises ValueError naming the image when it cannot be read or is not of its masks' size.
    """
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in pq.read_table(table_path, columns=["image", "instance", "mask"]).to_pylist():
        rows[row["image"]].append(row)
    for image, found in rows.items():
        pixels = cv2.imread(str(table_path.parent / image), cv2.IMREAD_COLOR)
        if pixels is None:
            raise ValueError(f"{table_path.parent / image}: not a readable image")
        masks = tuple(decode_rle(row["mask"]) for row in found)
        if any(mask.shape != pixels.shape[:2] for mask in masks):
            raise ValueError(f"{table_path.parent / image}: {pixels.shape[:2]} pixels, masks of another size")
        objects = tuple(str(row["instance"]) for row in found)
        yield Picture(pixels, masks, objects, f"{table_path.parent.name}/{image}", 0, False)


def all_pictures(data: Path, *, stride: int = 1) -> Iterator[Picture]:
    """The train split of `data`/davis, every set of `data`/stills and `data`/coco128, whichever of them exist."""
    if (data / "davis" / "sequences.parquet").exists():
        yield from davis_pictures(data / "davis", stride=stride)
    tables = sorted((data / "stills").glob("*/masks.parquet")) + [data / "coco128" / "instances.parquet"]
    for table in tables:
        if table.exists():
            yield from still_pictures(table)
