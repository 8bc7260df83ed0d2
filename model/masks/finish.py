"""From a tracker's output to what a row holds: the mask in the frame as RLE, its area, and a rotated box.

All work is on the window of the frame that the mask covers; nothing of the frame's size is ever made.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor
from typing import Any, Protocol

import cv2
import numpy as np

from model.masks.kernels import cut_resized
from model.masks.rle import encode_window
from model.masks.rotated_box import box_from_mask, from_box


class MaskOutput(Protocol):
    """What `finish` reads of `model.engine.TrackOutput`."""

    @property
    def box(self) -> np.ndarray: ...
    @property
    def mask_probability(self) -> np.ndarray: ...
    @property
    def window(self) -> tuple[float, float, float, float]: ...
    @property
    def threshold(self) -> float: ...


@dataclass(frozen=True, slots=True)
class PastedMask:
    """A binary mask in the frame: `pixels` uint8 [h, w] of 0 and 1 with the top-left pixel at x, y; empty outside."""

    pixels: np.ndarray
    x: int
    y: int


@dataclass(frozen=True, slots=True)
class FinishedMask:
    """A frame's row for one track.

    Attributes:
        rle: COCO RLE of the whole frame, {"size": [H, W], "counts": text}.
        area: pixels of the mask.
        rbox: float32 [5], cx, cy, w, h, angle: w >= h, angle of the long side in degrees, [-90, 90), clockwise.
        corners: float32 [8], x1, y1 … x4, y4, clockwise from the topmost (then leftmost) corner.
        rbox_from_mask: false where the mask has no usable contour, so that the box is the tracker's own.
    """

    rle: dict[str, Any]
    area: int
    rbox: np.ndarray
    corners: np.ndarray
    rbox_from_mask: bool


def finish(output: MaskOutput, frame_height: int, frame_width: int, rule: str = "mbr") -> FinishedMask:
    """Turn a tracker's output into a row's values.

    Args:
        output: box, mask probability, window and threshold of one frame.
        frame_height, frame_width: the frame's size in pixels.
        rule: how the mask becomes a box: "minmax", "mbr", "opt" or "ellipse".

    Raises:
        ValueError: there is no such rule.
    """
    mask = paste(output.mask_probability, output.window, output.threshold, frame_height, frame_width)
    of_mask = box_from_mask(mask.pixels, rule)
    box = from_box(output.box) if of_mask is None else of_mask.moved(mask.x, mask.y)
    return FinishedMask(
        rle=encode_window(mask.pixels, mask.x, mask.y, frame_height, frame_width),
        area=int(np.count_nonzero(mask.pixels)),
        rbox=np.array([box.cx, box.cy, box.w, box.h, box.angle], np.float32),
        corners=box.corners().astype(np.float32),
        rbox_from_mask=of_mask is not None,
    )


def paste(
    probability: np.ndarray,
    window: tuple[float, float, float, float],
    threshold: float,
    frame_height: int,
    frame_width: int,
) -> PastedMask:
    """Put a mask where it belongs in the frame, and cut it at a threshold.

    The published way warps the probabilities to the whole frame, linearly and with -1 around them. This warps
    only to the pixels that can exceed the threshold: those within one mask pixel of a probability that does.

    Args:
        probability: float32 [M, M].
        window: x, y, w, h of the frame's square that the mask covers; it may reach outside the frame.
        threshold: pixels with a greater probability are object.
        frame_height, frame_width: the frame's size in pixels.
    """
    empty = PastedMask(np.zeros((0, 0), np.uint8), 0, 0)
    left, top, columns, rows = cv2.boundingRect((probability > threshold).view(np.uint8))
    if columns == 0:
        return empty
    # The published map stretches a frame of W pixels over W - 1.
    scale_x = (frame_width - 1) / frame_width * window[2] / probability.shape[1]
    scale_y = (frame_height - 1) / frame_height * window[3] / probability.shape[0]
    shift_x, shift_y = (frame_width - 1) / frame_width * window[0], (frame_height - 1) / frame_height * window[1]
    x0 = max(0, floor((left - 1) * scale_x + shift_x))
    y0 = max(0, floor((top - 1) * scale_y + shift_y))
    x1 = min(frame_width, ceil((left + columns) * scale_x + shift_x) + 1)
    y1 = min(frame_height, ceil((top + rows) * scale_y + shift_y) + 1)
    if x1 <= x0 or y1 <= y0:
        return empty
    steps = np.array([1 / scale_x, 1 / scale_y], np.float32)
    starts = np.array([(x0 - shift_x) / scale_x, (y0 - shift_y) / scale_y], np.float32)
    box = (left, top, columns, rows)
    pixels = cut_resized(np.ascontiguousarray(probability), threshold, box, steps, starts, x1 - x0, y1 - y0)
    return PastedMask(pixels[1:-1, : x1 - x0], x0, y0)
