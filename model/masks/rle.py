"""COCO run-length encoding of a whole frame's mask, made from the few pixels that hold the object.

A mask is column-major runs of zeros and ones, the first of zeros; `counts` is COCO's compressed text of the
run lengths. The encoder reads a window's pixels only, so its cost does not depend on the frame's size.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pycocotools import mask as coco

from model.masks.kernels import frame_runs


def encode_window(window: np.ndarray, x: int, y: int, frame_height: int, frame_width: int) -> dict[str, Any]:
    """Encode the mask of a frame that is empty outside a window.

    Args:
        window: [h, w] bool or uint8, non-zero is object.
        x, y: frame coordinates of the window's top-left pixel; the window lies inside the frame.
        frame_height, frame_width: the frame's size in pixels.

    Returns:
        COCO RLE of the whole frame: {"size": [frame_height, frame_width], "counts": text}, equal to what
        pycocotools makes of the full mask.

    Raises:
        ValueError: the window does not lie inside the frame.
    """
    height, width = window.shape
    if x < 0 or y < 0 or x + width > frame_width or y + height > frame_height:
        raise ValueError(
            f"a window of {width}x{height} at ({x}, {y}) does not lie inside the {frame_width}x{frame_height} frame"
        )
    counts = runs_to_text(window_runs(window, x, y, frame_height, frame_width), frame_height, frame_width)
    return {"size": [int(frame_height), int(frame_width)], "counts": counts}


def window_runs(window: np.ndarray, x: int, y: int, frame_height: int, frame_width: int) -> np.ndarray:
    """Return the frame's run lengths, int64 [n], zeros first, summing to the frame's pixels."""
    height, width = window.shape
    padded = (width + 7) // 8 * 8
    pixels = np.zeros((height + 2, padded), np.uint8)
    pixels[1:-1, :width] = window != 0
    return frame_runs(pixels, x, y, frame_height, frame_width)


def runs_to_text(runs: np.ndarray, frame_height: int, frame_width: int) -> str:
    """Write run lengths, int [n], of a frame as COCO's compressed text."""
    plain = {"size": [frame_height, frame_width], "counts": runs.tolist()}
    return coco.frPyObjects(plain, frame_height, frame_width)["counts"].decode("ascii")


def text_to_runs(text: str) -> np.ndarray:
    """Read COCO's compressed text back into run lengths, int64 [n]."""
    codes = np.frombuffer(text.encode("ascii"), np.uint8).astype(np.int64) - 48
    if len(codes) == 0:
        return np.zeros(0, np.int64)
    if codes.min() < 0 or codes.max() > 63 or codes[-1] & 32:
        raise ValueError("the counts of a mask are not COCO's compressed run lengths")
    last = np.flatnonzero((codes & 32) == 0)
    first = np.concatenate([[0], last[:-1] + 1])
    place = np.arange(len(codes)) - np.repeat(first, last - first + 1)
    values = np.add.reduceat((codes & 31) << (5 * place), first)
    values -= np.where(codes[last] & 16, np.int64(32) << (5 * place[last]), 0)
    # Undo the differences: two interleaved running sums, the first value standing alone.
    runs = values.copy()
    runs[1::2] = np.cumsum(values[1::2])
    runs[2::2] = np.cumsum(values[2::2])
    return runs


def rle_runs(rle: dict[str, Any]) -> np.ndarray:
    """Return the checked run lengths of a COCO RLE, int64 [n]; `counts` is text, bytes or a list of lengths.

    Raises:
        ValueError: the runs are not run lengths or do not fill `size`; the message says what is wrong.
    """
    height, width = (int(side) for side in rle["size"])
    counts = rle["counts"]
    if isinstance(counts, bytes):
        counts = counts.decode("ascii", "replace")
    try:
        runs = text_to_runs(counts) if isinstance(counts, str) else np.asarray(counts, np.int64)
    except UnicodeEncodeError as error:
        raise ValueError("the counts of a mask are not COCO's compressed run lengths") from error
    if runs.ndim != 1 or (runs < 0).any() or int(runs.sum()) != height * width:
        raise ValueError(
            f"the runs of a mask add up to {int(runs.sum())} pixels, but its size {height}x{width} has {height * width}"
        )
    return runs


def decode(rle: dict[str, Any]) -> np.ndarray:
    """Return the full mask of a COCO RLE, uint8 [H, W] of 0 and 1."""
    height, width = (int(side) for side in rle["size"])
    runs = rle_runs(rle)
    flat = np.repeat(np.arange(len(runs), dtype=np.uint8) & 1, runs)
    return np.ascontiguousarray(flat.reshape(width, height).T)


def area(rle: dict[str, Any]) -> int:
    """Return the number of object pixels of a COCO RLE."""
    return int(rle_runs(rle)[1::2].sum())


def bounding_box(rle: dict[str, Any]) -> tuple[int, int, int, int] | None:
    """Return x, y, width and height of the box about the pixels of a COCO RLE, None when it is empty."""
    height = int(rle["size"][0])
    runs = rle_runs(rle)
    ends = np.cumsum(runs)
    start, end = (ends - runs)[1::2], ends[1::2]
    start, end = start[end > start], end[end > start]
    if len(start) == 0:
        return None
    left, right = int(start[0] // height), int((end[-1] - 1) // height)
    if (start // height != (end - 1) // height).any():  # a run over a column's end spans the frame's height
        top, bottom = 0, height - 1
    else:
        top, bottom = int((start % height).min()), int(((end - 1) % height).max())
    return left, top, right - left + 1, bottom - top + 1
