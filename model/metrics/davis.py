"""Region similarity J and contour accuracy F of DAVIS, with mean, recall and decay.

Source: Perazzi et al., "A benchmark dataset and evaluation methodology for video object segmentation", CVPR 2016,
and the benchmark's published evaluation. Masks are [H, W], non-zero where the object is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

BOUNDARY_BOUND = 0.008
RECALL_LEVEL = 0.5
_DECAY_BINS = 4


@dataclass(frozen=True, slots=True)
class Statistics:
    """A measure over the frames of a sequence: its mean, the share of frames above 0.5, and by how much the last
    quarter falls short of the first."""

    mean: float
    recall: float
    decay: float


def region_j(mask: np.ndarray, truth: np.ndarray) -> float:
    """Intersection over union of two masks of one size; 1 when both are empty.

    Raises ValueError when the sizes differ.
    """
    mask, truth = _pair(mask, truth)
    union = int(np.count_nonzero(mask | truth))
    return int(np.count_nonzero(mask & truth)) / union if union else 1.0


def boundary_f(mask: np.ndarray, truth: np.ndarray, bound: float = BOUNDARY_BOUND) -> float:
    """F-measure of the boundaries of two masks, matched within `bound` of the picture's diagonal.

    A `bound` of 1 or more is a number of pixels. Two empty masks score 1. Raises ValueError when the sizes differ.
    """
    mask, truth = _pair(mask, truth)
    radius = bound if bound >= 1 else math.ceil(bound * math.hypot(*mask.shape))
    outline, true_outline = mask_boundary(mask), mask_boundary(truth)
    outline_count, true_count = int(np.count_nonzero(outline)), int(np.count_nonzero(true_outline))
    if outline_count == 0 or true_count == 0:
        return 1.0 if outline_count == true_count else 0.0
    precision = np.count_nonzero(outline & _dilated(true_outline, radius)) / outline_count
    recall = np.count_nonzero(true_outline & _dilated(outline, radius)) / true_count
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def mask_boundary(mask: np.ndarray) -> np.ndarray:
    """Boundary pixels, bool [H, W]: those that differ from the right, lower or lower right neighbour."""
    mask = mask.astype(bool)
    boundary = np.zeros_like(mask)
    boundary[:-1, :-1] = (
        (mask[:-1, :-1] ^ mask[:-1, 1:]) | (mask[:-1, :-1] ^ mask[1:, :-1]) | (mask[:-1, :-1] ^ mask[1:, 1:])
    )
    boundary[-1, :-1] = mask[-1, :-1] ^ mask[-1, 1:]
    boundary[:-1, -1] = mask[:-1, -1] ^ mask[1:, -1]
    return boundary


def judged_frames(frames: int) -> range:
    """Frames that count of a sequence of `frames`: all but the first, which is given, and the last."""
    return range(1, max(1, frames - 1))


def statistics(values: np.ndarray | list[float]) -> Statistics:
    """Mean, recall and decay of a measure by frame, in frame order. Raises ValueError when there is none."""
    values = np.asarray(values, dtype=np.float64)
    if values.size == 0:
        raise ValueError("no frame to judge: the sequence needs at least three")
    edges = np.round(np.linspace(1, values.size, _DECAY_BINS + 1) + 1e-10).astype(int) - 1
    first, last = values[edges[0] : edges[1] + 1], values[edges[-2] : edges[-1] + 1]
    return Statistics(
        mean=float(values.mean()),
        recall=float((values > RECALL_LEVEL).mean()),
        decay=float(first.mean() - last.mean()),
    )


def _dilated(boundary: np.ndarray, radius: float) -> np.ndarray:
    reach = int(radius)
    offsets = np.arange(-reach, reach + 1)
    disk = (offsets[:, None] ** 2 + offsets[None, :] ** 2 <= radius**2).astype(np.uint8)
    return cv2.dilate(boundary.astype(np.uint8), disk, borderValue=0).astype(bool)


def _pair(mask: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if mask.shape != truth.shape:
        raise ValueError(f"a mask of {list(mask.shape)} cannot be judged by a truth of {list(truth.shape)}")
    return mask.astype(bool), truth.astype(bool)
