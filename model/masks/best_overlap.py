"""The rotated rectangle of greatest overlap with a mask, the "opt" rule (VOT2016 made its labels so).

Overlap is intersection over union of pixel centres, edges included, as VOT rasterises polygons. A rectangle cuts
each row of pixels in one interval, so running sums along the rows count a whole set of candidates at once; the
search moves sides, centre and angle in ever smaller steps from several starts at the same time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

_ROWS = 64  # rows that the coarse search looks at
_EDGE = 1e-4  # pixels; a centre this near an edge lies on it


def overlap(window: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return the overlap of rectangles with a mask.

    Args:
        window: [h, w], non-zero is object.
        boxes: float64 [K, 5], cx, cy, w, h and angle in degrees, in the window's coordinates.

    Returns:
        float64 [K], intersection over union of pixel centres.
    """
    return _Counter(window, 1).overlap(np.atleast_2d(np.asarray(boxes, np.float64)))


def best_overlap(window: np.ndarray, starts: Sequence[Sequence[float]]) -> tuple[float, float, float, float, float]:
    """Search the rectangle of greatest overlap with a mask.

    Args:
        window: [h, w], non-zero is object; not empty.
        starts: cx, cy, w, h and angle (degrees) of rectangles to start from. The result is as good as each.

    Returns:
        cx, cy, w, h, angle in the window's coordinates.
    """
    given = np.asarray(starts, np.float64)
    begin = np.concatenate([given, _moment_boxes(window)])
    stride = max(1, window.shape[0] // _ROWS)
    size = max(1.0, float(np.sqrt(np.count_nonzero(window))))
    exact = _Counter(window, 1)
    coarse = exact if stride == 1 else _Counter(window, stride)
    climbed = _climb(coarse, begin, step=0.12 * size, until=max(0.2, 0.004 * size), rounds=40)
    if stride > 1:
        best = climbed[np.argsort(exact.overlap(climbed))[-1:]]
        climbed = _climb(exact, best, step=0.02 * size, until=0.2, rounds=12)
    candidates = np.concatenate([climbed, given])
    # argmax takes the first of equals: a start is returned only where none of the climbed is as good.
    cx, cy, w, h, angle = candidates[int(np.argmax(exact.overlap(candidates)))].tolist()
    return cx, cy, w, h, angle


class _Counter:
    """Counts pixels of a mask, and all pixels, inside rectangles."""

    def __init__(self, window: np.ndarray, stride: int) -> None:
        self._offset = (stride - 1) // 2
        self._stride = stride
        sampled = (window[self._offset :: stride] != 0).view(np.uint8)
        height, self._width = sampled.shape
        # A row of zeros at the end stands for every row outside the window.
        self._sums = np.zeros((height + 1, self._width + 1), np.int32)
        np.cumsum(sampled, axis=1, out=self._sums[:height, 1:])
        self._height = height
        self._total = int(self._sums[:, -1].sum())

    def overlap(self, boxes: np.ndarray) -> np.ndarray:
        turn = np.radians(boxes[:, 4:5])
        cos, sin = np.cos(turn), np.sin(turn)
        cos = np.where(np.abs(cos) < 1e-9, 1e-9, cos)
        sin = np.where(np.abs(sin) < 1e-9, 1e-9, sin)
        half_w, half_h = boxes[:, 2:3] / 2 + _EDGE, boxes[:, 3:4] / 2 + _EDGE
        reach = np.abs(half_w * sin) + np.abs(half_h * cos)
        first, last = float((boxes[:, 1:2] - reach).min()), float((boxes[:, 1:2] + reach).max())
        above = math.floor((first - self._offset) / self._stride)
        below = math.ceil((last - self._offset) / self._stride)
        index = np.arange(above, below + 1)
        y = (index * self._stride + self._offset)[None]
        dy = y - boxes[:, 1:2]
        # x - cx between both pairs of sides: |x cos + y sin| <= w / 2 and |y cos - x sin| <= h / 2.
        centre_w, spread_w = -dy * (sin / cos), np.abs(half_w / cos)
        centre_h, spread_h = dy * (cos / sin), np.abs(half_h / sin)
        low = np.maximum(centre_w - spread_w, centre_h - spread_h) + boxes[:, :1]
        high = np.minimum(centre_w + spread_w, centre_h + spread_h) + boxes[:, :1]
        low, high = np.ceil(low), np.floor(high)
        covered = np.maximum(high - low + 1, 0).sum(1)
        begin = np.clip(low, 0, self._width).astype(np.intp)
        end = np.maximum(np.clip(high + 1, 0, self._width).astype(np.intp), begin)
        row = np.where((index >= 0) & (index < self._height), index, self._height) * (self._width + 1)
        sums = self._sums.reshape(-1)
        inside = (sums.take(row + end) - sums.take(row + begin)).sum(1)
        return inside / np.maximum(covered + self._total - inside, 1)


# Moves of a rectangle in steps: along and across its own axes, growth in width and height, turn.
_MOVES = np.array(
    [
        move
        for sign in (1.0, -1.0)
        for move in (
            (sign, 0, 0, 0, 0), (0, sign, 0, 0, 0), (0, 0, 0, 0, sign), (0, 0, sign, sign, 0),
            (sign / 2, 0, 1, 0, 0), (sign / 2, 0, -1, 0, 0), (0, sign / 2, 0, 1, 0), (0, sign / 2, 0, -1, 0),
            (0, 0, sign, 0, 0), (0, 0, 0, sign, 0), (0, 0, sign, -sign, 0),
        )
    ]
)  # fmt: skip


def _climb(counter: _Counter, begin: np.ndarray, *, step: float, until: float, rounds: int) -> np.ndarray:
    """Improve every rectangle by its best move, halving its step where none helps; float64 [S, 5] both ways."""
    boxes, score = begin.copy(), counter.overlap(begin)
    steps = np.full(len(boxes), step)
    for _ in range(rounds):
        live = np.flatnonzero(steps >= until)
        if len(live) == 0:
            break
        tried = _moved(boxes[live], steps[live])
        value = counter.overlap(tried.reshape(-1, 5)).reshape(len(live), -1)
        best = value.argmax(1)
        better = value[np.arange(len(live)), best] > score[live]
        won = live[better]
        boxes[won] = tried[np.arange(len(live)), best][better]
        score[won] = value[np.arange(len(live)), best][better]
        steps[live[~better]] /= 2
    return boxes


def _moved(boxes: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Every move of every rectangle: [S, 5] and [S] -> [S, moves, 5]."""
    turn = np.radians(boxes[:, None, 4])
    delta = _MOVES[None] * steps[:, None, None]
    tried = np.repeat(boxes[:, None], len(_MOVES), axis=1)
    tried[..., 0] += delta[..., 0] * np.cos(turn) - delta[..., 1] * np.sin(turn)
    tried[..., 1] += delta[..., 0] * np.sin(turn) + delta[..., 1] * np.cos(turn)
    tried[..., 2:4] = np.maximum(tried[..., 2:4] + delta[..., 2:4], 0)
    # A turn that moves the ends of the longer side by about a step.
    reach = np.maximum(boxes[:, 2:4].max(1), 1.0)[:, None] / 2
    tried[..., 4] += np.degrees(delta[..., 4] / reach)
    return tried


def _moment_boxes(window: np.ndarray) -> np.ndarray:
    """The rectangle with the mask's second moments, and the same one turned by 45 degrees, float64 [2, 5]."""
    y, x = (axis.astype(np.float64) for axis in np.nonzero(window))
    cx, cy = x.mean(), y.mean()
    xx, yy, xy = ((x - cx) ** 2).mean(), ((y - cy) ** 2).mean(), ((x - cx) * (y - cy)).mean()
    angle = 0.5 * np.arctan2(2 * xy, xx - yy)
    spread = np.hypot((xx - yy) / 2, xy)
    w, h = np.sqrt(12 * np.maximum([(xx + yy) / 2 + spread, (xx + yy) / 2 - spread], 0))
    side = np.sqrt(w * h)
    return np.array([[cx, cy, w, h, np.degrees(angle)], [cx, cy, side, side, np.degrees(angle) + 45]])
