"""The axis-aligned box that starts a track, from what a manifest gives: a polygon or a mask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from model.masks.rle import bounding_box

Box = tuple[float, float, float, float]


def box_from_polygon(polygon: Sequence[float] | np.ndarray) -> Box:
    """Return the axis-aligned box of equal area, as the VOT protocol starts axis-aligned trackers.

    Its centre is the mean of the corners, its shape that of the box around them.

    Args:
        polygon: x1, y1 … x4, y4 of a rotated box, pixels, corners in order.

    Returns:
        x, y, w, h.

    Raises:
        ValueError: it is not eight finite numbers, or has no area.
    """
    corners = np.asarray(polygon, np.float64).reshape(-1)
    if corners.shape != (8,) or not np.isfinite(corners).all():
        raise ValueError(f"a polygon must be eight finite numbers x1, y1 … x4, y4, not {np.asarray(polygon).tolist()}")
    points = corners.reshape(4, 2)
    area = np.linalg.norm(points[0] - points[1]) * np.linalg.norm(points[1] - points[2])
    width, height = np.ptp(points, axis=0)
    if area <= 0 or width <= 0 or height <= 0:
        raise ValueError(f"the polygon {corners.tolist()} has no area")
    scale = np.sqrt(area / (width * height))
    cx, cy = points.mean(0)
    w, h = scale * width, scale * height
    return float(cx - w / 2), float(cy - h / 2), float(w), float(h)


def box_from_rle(rle: dict[str, Any], frame_height: int, frame_width: int) -> Box:
    """Return the bounding box x, y, w, h of a COCO RLE of the frame's size.

    Raises:
        ValueError: the mask is empty, of another size than the frame, or not a valid RLE.
    """
    height, width = (int(side) for side in rle["size"])
    if (height, width) != (frame_height, frame_width):
        raise ValueError(f"the init mask is {width}x{height}, but the frame is {frame_width}x{frame_height}")
    box = bounding_box(rle)
    if box is None:
        raise ValueError("the init mask is empty: it has no pixel to start a track from")
    x, y, w, h = box
    return float(x), float(y), float(w), float(h)


def box_from_mask(mask: np.ndarray | Mapping[str, Any]) -> tuple[Box, tuple[int, int]]:
    """Return the bounding box x, y, w, h of a mask, and the mask's height and width.

    Args:
        mask: bool or integers [H, W], where what is not 0 is the object; or a COCO RLE.

    Raises:
        ValueError: it is empty, or no mask.
    """
    if isinstance(mask, Mapping):
        try:
            height, width = (int(side) for side in mask["size"])
            rle = {"size": [height, width], "counts": mask["counts"]}
        except (KeyError, TypeError, ValueError):
            raise ValueError(f"expected a COCO RLE with size [H, W] and counts, not {dict(mask)!r:.60}") from None
        return box_from_rle(rle, height, width), (height, width)
    pixels = np.asarray(mask)
    if pixels.ndim != 2 or pixels.dtype.kind not in "bui":
        raise ValueError(f"expected a mask, bool [H, W], not {pixels.dtype} {list(pixels.shape)}")
    xs, ys = np.flatnonzero(pixels.any(0)), np.flatnonzero(pixels.any(1))
    if len(xs) == 0:
        raise ValueError("the init mask is empty: it has no pixel to start a track from")
    left, top = float(xs[0]), float(ys[0])
    return (left, top, float(xs[-1] + 1 - left), float(ys[-1] + 1 - top)), (pixels.shape[0], pixels.shape[1])
