"""Overlap of polygons as VOT counts it: on pixels, edges included, inside the frame.

Source: the rasterisation of the TraX library and of vot-toolkit, which agree. Corners are rounded to whole pixels, a
row's crossings are cut to whole pixels, and both ends of a span belong to the polygon.
"""

from __future__ import annotations

import numpy as np

Bounds = tuple[int, int, int, int]
"""Left, top, right, bottom in whole pixels, all of them inside."""


def polygon_overlap(first: np.ndarray, second: np.ndarray, width: int, height: int) -> float:
    """Intersection over union of two polygons in a frame.

    Args:
        first, second: corners x1, y1, x2, y2 …, [n, 2] or [2 n], pixels; float32 is what VOT's files and tools hold.
        width, height: the frame's size in pixels; what lies outside does not count.

    Returns:
        0 to 1. Two polygons that together span less than two columns or two rows count as the same, 1; what is
        left of them inside the frame must span two of each, or the overlap is 0.
    """
    first_corners, second_corners = _rounded(first), _rounded(second)
    low = np.minimum(first_corners.min(0), second_corners.min(0)).astype(int)
    high = np.maximum(first_corners.max(0), second_corners.max(0)).astype(int)
    if (low >= high).any():
        return 1.0
    left, top = (int(value) for value in np.maximum(low, 0))
    right, bottom = min(width - 1, int(high[0])), min(height - 1, int(high[1]))
    if left >= right or top >= bottom:
        return 0.0
    bounds = (left, top, right, bottom)
    a, b = rasterise(first_corners, bounds), rasterise(second_corners, bounds)
    union = int(np.count_nonzero(a | b))
    return int(np.count_nonzero(a & b)) / union if union else 0.0


def rasterise(polygon: np.ndarray, bounds: Bounds) -> np.ndarray:
    """Pixels of a polygon, bool [bottom - top + 1, right - left + 1], of the part of the frame inside `bounds`."""
    left, top, right, bottom = bounds
    corners = _rounded(polygon) - np.array([left, top])
    pixels = np.zeros((bottom - top + 1, right - left + 1), bool)
    for row, crossings in zip(pixels, _crossings(corners, pixels.shape[0]), strict=True):
        for start, end in _spans(crossings):
            if start < pixels.shape[1] and end >= 0:
                row[max(0, start) : end + 1] = True
    return pixels


def _rounded(polygon: np.ndarray) -> np.ndarray:
    corners = np.asarray(polygon, np.float32).reshape(-1, 2)
    if len(corners) < 3 or not np.isfinite(corners).all():
        raise ValueError(f"a polygon needs three or more corners, all finite, not {corners.reshape(-1).tolist()}")
    return np.round(corners).astype(np.float64)


def _crossings(corners: np.ndarray, rows: int) -> list[list[int]]:
    """Columns at which the edges meet each row, sorted; a corner counts for both of its edges."""
    x, y = corners.T
    other_x, other_y = np.roll(corners, 1, axis=0).T
    row_numbers = np.arange(rows)[:, None]
    touched = (np.minimum(y, other_y) <= row_numbers) & (np.maximum(y, other_y) >= row_numbers)
    along = np.where(y == other_y, 0.0, (row_numbers - y) / np.where(y == other_y, 1.0, other_y - y))
    columns = np.trunc(x + along * (other_x - x)).astype(int)
    return [sorted(line[hit].tolist()) for line, hit in zip(columns, touched, strict=True)]


def _spans(crossings: list[int]) -> list[tuple[int, int]]:
    """Pairs of crossings between which a row is inside; of two equal ones the first is left out, unless it is last."""
    spans, i = [], 0
    while i < len(crossings) - 1:
        if crossings[i] == crossings[i + 1] and i < len(crossings) - 2:
            i += 1
            continue
        spans.append((crossings[i], crossings[i + 1]))
        i += 2
    return spans
