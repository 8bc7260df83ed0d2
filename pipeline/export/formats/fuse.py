"""One object a pixel, for the formats in which masks do not overlap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco


def label_map(rows: Sequence[Mapping[str, Any]], numbers: Mapping[str, int], size: tuple[int, int]) -> np.ndarray:
    """The object that each pixel belongs to.

    Where masks overlap, a pixel goes to the likelier object: that with the highest presence in this frame, of equal
    ones (or without that column) that with the highest score, and of equal ones the lowest number.

    Args:
        rows: a frame's rows of `masks`.
        numbers: objects' numbers by id, 1 or more.
        size: height and width of the frame.

    Returns:
        int32 [H, W]; 0 where there is no object.
    """
    labels = np.zeros(size, np.int32)
    for row in sorted(rows, key=lambda row: (row["presence"] or 0.0, row["score"], -numbers[row["object_id"]])):
        labels[coco.decode(row["mask"]).astype(bool)] = numbers[row["object_id"]]
    return labels


def apart(
    rows: Sequence[Mapping[str, Any]], numbers: Mapping[str, int], size: tuple[int, int]
) -> dict[int, Mapping[str, Any]]:
    """The masks of a frame without overlaps, as COCO RLE by object number; objects without a pixel are left out."""
    masks = {numbers[row["object_id"]]: row["mask"] for row in rows if row["area"]}
    if len(masks) > 1 and coco.area(coco.merge(list(masks.values()))) < sum(row["area"] for row in rows):
        labels = label_map(rows, numbers, size)
        encoded = {number: coco.encode(np.asfortranarray(labels == number, np.uint8)) for number in np.unique(labels)}
        masks = {
            int(number): {"size": list(size), "counts": rle["counts"].decode("ascii")}
            for number, rle in encoded.items()
            if number
        }
    return dict(sorted(masks.items()))
