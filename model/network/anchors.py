"""The anchor boxes of the score map and the cosine window over it (SiamRPN, as SiamMask uses them)."""

from __future__ import annotations

import math

import numpy as np

RATIOS = (0.33, 0.5, 1.0, 2.0, 3.0)
SCALE = 8
STRIDE = 8
SCORE_SIZE = 25


def anchors(score_size: int = SCORE_SIZE) -> np.ndarray:
    """Return the anchors of every cell of the score map.

    Args:
        score_size: cells along each side of the score map.

    Returns:
        float32 [len(RATIOS), score_size, score_size, 4]: centre x, centre y, width and height in pixels of
        the 255x255 search window, relative to its centre. Axes: anchor, row, column. Width and height are
        whole numbers times the scale, because the published anchors are truncated before they are scaled.
    """
    shapes = []
    for ratio in RATIOS:
        width = int(math.sqrt(STRIDE * STRIDE / ratio))
        shapes.append((width * SCALE, int(width * ratio) * SCALE))
    offsets = (np.arange(score_size, dtype=np.float32) - score_size // 2) * STRIDE
    boxes = np.empty((len(RATIOS), score_size, score_size, 4), np.float32)
    boxes[..., 0] = offsets[None, None, :]
    boxes[..., 1] = offsets[None, :, None]
    boxes[..., 2:] = np.asarray(shapes, np.float32)[:, None, None, :]
    return boxes


def cosine_window() -> np.ndarray:
    """Return the Hanning window over the score map, float32 [25, 25], 1 at its centre."""
    hanning = np.hanning(SCORE_SIZE)
    return np.outer(hanning, hanning).astype(np.float32)
