"""Cut the template and the search window out of a frame.

Only the window's own pixels are copied, padded and resized, so the cost follows the object's size and not the
frame's. Frames are uint8 [H, W, 3]; a view with reversed channels (RGB read as BGR) is not copied.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

TEMPLATE_SIZE = 127
SEARCH_SIZE = 255
# Padding a window beyond this side is dearer than sampling the 255x255 pixels one by one.
_LARGEST_PADDED_SIDE = 1024


@dataclass(frozen=True, slots=True)
class SearchWindow:
    """Where the search window of one step lies in the frame.

    x, y are the top-left corner and `side` the length, in frame pixels; `scale` is search-window pixels a
    frame pixel by the published formula (it differs from 255 / side by the rounding of side).
    """

    x: float
    y: float
    side: int
    scale: float


def context_side(width: float, height: float, context: float = 0.5) -> float:
    """Return s_z, the side in frame pixels of the square that the 127x127 template shows."""
    margin = context * (width + height)
    return float(np.sqrt((width + margin) * (height + margin)))


def template_side(width: float, height: float, context: float = 0.5) -> int:
    """Return the whole number of frame pixels that the template crop of a target of this size covers."""
    return round(context_side(width, height, context))


def search_window(centre_x: float, centre_y: float, width: float, height: float, context: float = 0.5) -> SearchWindow:
    """Return the search window about a target of the given centre and size (frame pixels)."""
    side_z = context_side(width, height, context)
    scale = TEMPLATE_SIZE / side_z
    side = round(side_z + (SEARCH_SIZE - TEMPLATE_SIZE) / scale)
    return SearchWindow(centre_x - side / 2, centre_y - side / 2, side, scale)


def zoomed(window: SearchWindow, zoom: float) -> SearchWindow:
    """A window about the same point, of so many times the side."""
    side = round(window.side * zoom)
    before = (side - window.side) / 2
    return SearchWindow(window.x - before, window.y - before, side, window.scale / zoom)


def check_frame(frame: np.ndarray) -> tuple[int, int]:
    """Return the height and width of a frame; ValueError where it is not uint8 [H, W, 3] with pixels."""
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or 0 in frame.shape:
        raise ValueError(f"a frame must be uint8 [H, W, 3], but it is {frame.dtype} {list(frame.shape)}")
    return frame.shape[0], frame.shape[1]


def mean_colour(frame: np.ndarray) -> np.ndarray:
    """Return the mean of each channel of a uint8 [H, W, 3] frame, float64 [3], in its channel order."""
    plain, is_reversed = _memory_order(frame)
    mean = np.array(cv2.mean(plain)[:3])
    return mean[::-1].copy() if is_reversed else mean


def crop(frame: np.ndarray, centre_x: float, centre_y: float, side: int, size: int, fill: np.ndarray) -> np.ndarray:
    """Cut a square about a point and resize it.

    Args:
        frame: uint8 [H, W, 3], any strides.
        centre_x, centre_y: centre of the square in frame pixels.
        side: side of the square in frame pixels, at least 1.
        size: side of the result in pixels.
        fill: [3] colour, 0..255 in the frame's channel order, of what lies outside the frame; truncated to
            whole levels as the published crop does.

    Returns:
        uint8 [size, size, 3] in the frame's channel order.

    Raises:
        ValueError: the frame is not uint8 [H, W, 3], the side is not positive, or a coordinate is not finite.
    """
    check_frame(frame)
    if not (np.isfinite(centre_x) and np.isfinite(centre_y)) or side < 1:
        raise ValueError(f"cannot cut a window of {side} pixels about ({centre_x}, {centre_y})")
    plain, is_reversed = _memory_order(frame)
    colour = np.asarray(fill).astype(np.uint8)
    patch = _cut(plain, centre_x, centre_y, int(side), size, colour[::-1] if is_reversed else colour)
    return cv2.cvtColor(patch, cv2.COLOR_RGB2BGR) if is_reversed else patch


def _cut(frame: np.ndarray, centre_x: float, centre_y: float, side: int, size: int, colour: np.ndarray) -> np.ndarray:
    height, width = frame.shape[:2]
    half = (side + 1) / 2
    left, top = round(centre_x - half), round(centre_y - half)
    right, bottom = left + side, top + side  # exclusive
    pads = (max(0, -top), max(0, bottom - height), max(0, -left), max(0, right - width))
    if any(pads):
        if side > _LARGEST_PADDED_SIDE:
            return _sample(frame, left, top, side, size, colour)
        inside = frame[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
        border = [int(level) for level in colour]
        if inside.size:
            patch = cv2.copyMakeBorder(inside, *pads, cv2.BORDER_CONSTANT, value=border)
        else:
            patch = np.full((side, side, 3), colour, np.uint8)
    else:
        patch = frame[top:bottom, left:right]
    if side == size:
        return np.ascontiguousarray(patch)
    return cv2.resize(patch, (size, size), interpolation=cv2.INTER_LINEAR)


def _sample(frame: np.ndarray, left: int, top: int, side: int, size: int, colour: np.ndarray) -> np.ndarray:
    """The same as padding the window and resizing it, in memory of the result's order.

    A window about a target that fills the frame is sixteen times the frame's area.
    """
    rows, row_weight = _taps(top, side, size, frame.shape[0])
    columns, column_weight = _taps(left, side, size, frame.shape[1])
    column_map, row_map = np.meshgrid(columns, rows)
    border = tuple(int(level) for level in colour)
    taps = cv2.remap(
        frame, column_map, row_map, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=border
    ).astype(np.float32)
    lines = taps[::2] + (taps[1::2] - taps[::2]) * row_weight[:, None, None]
    values = lines[:, ::2] + (lines[:, 1::2] - lines[:, ::2]) * column_weight[:, None]
    return np.rint(values).astype(np.uint8)


def _taps(start: int, side: int, size: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Frame indices of the two pixels that each output pixel mixes, and the weight of each second one.

    Returns float32 [2 size], -1 where the pixel lies outside the frame's `length`, and float32 [size].
    """
    position = np.clip((np.arange(size) + 0.5) * (side / size) - 0.5, 0, side - 1)
    first = np.floor(position)
    pair = np.stack([first, np.minimum(first + 1, side - 1)], axis=1).reshape(-1) + start
    outside = (pair < 0) | (pair >= length)
    return np.where(outside, -1, pair).astype(np.float32), (position - first).astype(np.float32)


def _memory_order(frame: np.ndarray) -> tuple[np.ndarray, bool]:
    """Undo a reversed channel axis, so that OpenCV can read the frame in place."""
    if frame.strides[2] < 0:
        frame, is_reversed = frame[..., ::-1], True
    else:
        is_reversed = False
    if frame.strides[2] != 1 or frame.strides[1] != 3 or frame.strides[0] < 0:
        frame = np.ascontiguousarray(frame)
    return frame, is_reversed
