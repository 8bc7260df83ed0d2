"""What a search window should answer: classes and offsets of its anchors, masks of its candidate windows."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from model.network.anchors import SCORE_SIZE, STRIDE
from model.tracker.crop import TEMPLATE_SIZE

BASE_MASK_SIZE = 63
# The mask window of cell (row, column) starts at ((column - 4) * 8, (row - 4) * 8) of the search window.
FIRST_WINDOW = -4 * STRIDE


def score_size(search_size: int) -> int:
    """Cells along each side of the score map of a search crop of so many pixels: 25 for 255, 11 for 143."""
    return (search_size - TEMPLATE_SIZE - 2 * FIRST_WINDOW) // STRIDE + 1


@dataclass(frozen=True, slots=True)
class LabelRules:
    """How anchors are labelled: overlaps that make them positive or negative, and how many are kept."""

    positive_overlap: float = 0.6
    negative_overlap: float = 0.3
    positives: int = 16
    total: int = 64
    positive_radius: float = 16.0


def overlaps(boxes: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Intersection over union of `boxes` [..., 4] with one `box` [4], all centre x, centre y, width, height."""
    low = np.maximum(boxes[..., :2] - boxes[..., 2:] / 2, box[:2] - box[2:] / 2)
    high = np.minimum(boxes[..., :2] + boxes[..., 2:] / 2, box[:2] + box[2:] / 2)
    shared = np.prod(np.clip(high - low, 0, None), axis=-1)
    return shared / (np.prod(boxes[..., 2:], axis=-1) + np.prod(box[2:]) - shared)


def label_anchors(
    anchors: np.ndarray, box: np.ndarray, rng: np.random.Generator, rules: LabelRules | None = None
) -> np.ndarray:
    """Class of every anchor: 1 object, 0 background, -1 left out of the loss.

    Args:
        anchors: float32 [k, 25, 25, 4] centre x, centre y, width, height, relative to the window's centre.
        box: [4] the object's box in the same form.
        rng: chooses which positives and negatives are kept.

    Returns:
        int8 [k, 25, 25].
    """
    rules = rules or LabelRules()
    overlap = overlaps(anchors, box).reshape(-1)
    positive = _choose(np.flatnonzero(overlap > rules.positive_overlap), rules.positives, rng)
    negative = _choose(np.flatnonzero(overlap < rules.negative_overlap), rules.total - positive.size, rng)
    classes = np.full(overlap.size, -1, np.int8)
    classes[negative] = 0
    classes[positive] = 1
    return classes.reshape(anchors.shape[:-1])


def label_cells(
    box: np.ndarray, rng: np.random.Generator, rules: LabelRules | None = None, cells: int = SCORE_SIZE
) -> np.ndarray:
    """Class of every cell for the two-branch network, which has no anchors: int8 [1, cells, cells].

    Cells within `positive_radius` pixels of the object's centre are positive, those farther than twice that
    negative (SiamFC); `box` as in `label_anchors`.
    """
    rules = rules or LabelRules()
    offsets = (np.arange(cells) - cells // 2) * STRIDE
    distance = np.hypot(offsets[None, :] - box[0], offsets[:, None] - box[1]).reshape(-1)
    positive = _choose(np.flatnonzero(distance <= rules.positive_radius), rules.positives, rng)
    negative = _choose(np.flatnonzero(distance > 2 * rules.positive_radius), rules.total - positive.size, rng)
    classes = np.full(distance.size, -1, np.int8)
    classes[negative] = 0
    classes[positive] = 1
    return classes.reshape(1, cells, cells)


def box_offsets(anchors: np.ndarray, box: np.ndarray) -> np.ndarray:
    """dx, dy, dw, dh from every anchor [k, 25, 25, 4] to `box` [4]: float32 [4, k, 25, 25] (SiamRPN)."""
    place = (box[:2] - anchors[..., :2]) / anchors[..., 2:]
    size = np.log(box[2:] / anchors[..., 2:])
    return np.moveaxis(np.concatenate([place, size], axis=-1), -1, 0).astype(np.float32)


def choose_cells(classes: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """At most `count` cells (row, column) that have a positive anchor: int64 [n, 2]."""
    cells = np.argwhere((classes == 1).any(axis=0))
    return cells[_choose(np.arange(len(cells)), count, rng)]


def mask_windows(mask: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """The object's mask in the candidate window of each cell.

    Args:
        mask: uint8 [S, S] of 0 and 1 over the search window; outside it is background.
        cells: int64 [n, 2] row, column.

    Returns:
        uint8 [n, 127, 127].
    """
    side = len(mask)
    cells_a_side = score_size(side)
    if mask.shape != (side, side) or TEMPLATE_SIZE + 2 * FIRST_WINDOW + (cells_a_side - 1) * STRIDE != side:
        raise ValueError(f"a search mask is 255 or 143 pixels square, this one is {list(mask.shape)}")
    padded = np.pad(mask, -FIRST_WINDOW)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (TEMPLATE_SIZE, TEMPLATE_SIZE))
    return windows[cells[:, 0] * STRIDE, cells[:, 1] * STRIDE]


def shrink_windows(windows: np.ndarray) -> np.ndarray:
    """Masks uint8 [n, 127, 127] at the base resolution: uint8 [n, 63, 63] of 0 and 1, by majority of area."""
    # Not as a product of matrices: BLAS would take a second core for it, which the network has use for.
    size = (BASE_MASK_SIZE, BASE_MASK_SIZE)
    covered = [cv2.resize(window.astype(np.float32), size, interpolation=cv2.INTER_AREA) for window in windows]
    return (np.reshape(covered, (len(windows), *size)) >= 0.5).astype(np.uint8)


def _choose(indices: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    if len(indices) <= count:
        return indices
    return rng.choice(indices, count, replace=False)
