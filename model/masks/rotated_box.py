"""Rotated boxes: their one form, and the four rules that make one from a mask.

A box from a mask runs through pixel centres, as OpenCV's contours do and as the published tracker reports it: a
mask of one row has a box of height 0, and a pixel is inside when its centre is inside or on the edge.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np

from model.masks.best_overlap import best_overlap

Rule = Literal["minmax", "mbr", "opt", "ellipse"]
RULES: tuple[Rule, ...] = get_args(Rule)
SMALLEST_AREA = 100.0  # pixels inside the outline, below which a mask makes no box
_SNAP = 1e-3  # degrees; OpenCV's float32 corners leave less than this


@dataclass(frozen=True, slots=True)
class RotatedBox:
    """A rotated box in its one form: w >= h, angle of the long side in degrees, [-90, 90), clockwise (y down).

    Make it with `rotated_box`, `from_corners` or `from_box`.
    """

    cx: float
    cy: float
    w: float
    h: float
    angle: float

    def corners(self) -> np.ndarray:
        """Return x1, y1 … x4, y4, float64 [8], clockwise from the topmost, then leftmost, corner."""
        if self.angle in (-90.0, 0.0):  # cos(90°) is not quite 0, and a level edge should be level
            cos, sin = (1.0, 0.0) if self.angle == 0 else (0.0, -1.0)
        else:
            cos, sin = math.cos(math.radians(self.angle)), math.sin(math.radians(self.angle))
        long_x, long_y, short_x, short_y = cos * self.w / 2, sin * self.w / 2, -sin * self.h / 2, cos * self.h / 2
        points = [
            (self.cx + i * long_x + j * short_x, self.cy + i * long_y + j * short_y)
            for i, j in ((-1, -1), (1, -1), (1, 1), (-1, 1))
        ]
        rounded = np.array(points, np.float32).tolist()  # ties are ties of what is stored
        first = min(range(4), key=lambda k: (rounded[k][1], rounded[k][0]))
        return np.array(points[first:] + points[:first]).reshape(8)

    def moved(self, x: float, y: float) -> RotatedBox:
        """Return the box moved by x, y."""
        return RotatedBox(self.cx + x, self.cy + y, self.w, self.h, self.angle)


def rotated_box(cx: float, cy: float, w: float, h: float, angle: float) -> RotatedBox:
    """Bring a box with sides w (at `angle` degrees, clockwise with y down) and h to its one form."""
    cx, cy, w, h = float(cx), float(cy), float(w), float(h)
    if h > w:
        w, h, angle = h, w, angle + 90
    nearest = 90.0 * round(angle / 90)
    if abs(angle - nearest) < _SNAP:
        angle = nearest
    return RotatedBox(cx, cy, w, h, float((angle + 90) % 180 - 90))


def from_corners(corners: np.ndarray) -> RotatedBox:
    """Return the box with these corners, [4, 2] or [8], in either direction from any corner."""
    (x1, y1), (x2, y2), (x3, y3), (x4, y4) = np.asarray(corners, np.float64).reshape(4, 2).tolist()
    w, h = math.hypot(x2 - x1, y2 - y1), math.hypot(x3 - x2, y3 - y2)
    # The angle comes from the longer side: a side of length 0 has none.
    angle = math.atan2(y2 - y1, x2 - x1) if w >= h else math.atan2(y3 - y2, x3 - x2) - math.pi / 2
    return rotated_box((x1 + x2 + x3 + x4) / 4, (y1 + y2 + y3 + y4) / 4, w, h, math.degrees(angle))


def from_box(box: np.ndarray) -> RotatedBox:
    """Return an axis-aligned box x, y, w, h as a rotated one."""
    x, y, w, h = (float(value) for value in box)
    return rotated_box(x + w / 2, y + h / 2, w, h, 0.0)


def check_rule(rule: str) -> Rule:
    """Return the rule's name; ValueError where it is none."""
    if rule not in RULES:
        raise ValueError(f"no rule {rule!r} from mask to box: expected one of {', '.join(RULES)}")
    return rule


def box_from_mask(window: np.ndarray, rule: str = "mbr", *, smallest_area: float = SMALLEST_AREA) -> RotatedBox | None:
    """Make a rotated box from the mask's largest outer contour.

    Args:
        window: uint8 or bool [h, w], non-zero is object.
        rule: "minmax", the axis-aligned box; "mbr", the rectangle of least area (the published rule); "opt", the
            rectangle of greatest overlap with the mask; "ellipse", the min-max box in the frame of a fitted
            ellipse, cut to the ellipse's own box (SiamMask_E).
        smallest_area: area inside the contour, in pixels, that must be exceeded.

    Returns:
        The box in the window's coordinates, pixel centres at whole numbers; None without such a contour.

    Raises:
        ValueError: there is no such rule.
    """
    rule = check_rule(rule)
    contour = largest_contour(window, smallest_area)
    if contour is None:
        return None
    smallest = from_corners(cv2.boxPoints(cv2.minAreaRect(contour)))
    if rule == "mbr":
        return smallest
    if rule == "minmax":
        return _min_max(contour)
    fitted = _ellipse(contour)
    if rule == "ellipse":
        return fitted or smallest
    starts = [smallest, _min_max(contour)] + ([fitted] if fitted else [])
    return rotated_box(*best_overlap(window, [(b.cx, b.cy, b.w, b.h, b.angle) for b in starts]))


def largest_contour(window: np.ndarray, smallest_area: float = SMALLEST_AREA) -> np.ndarray | None:
    """Return the outer contour of largest area, int32 [n, 1, 2] (x, y), None where none exceeds `smallest_area`."""
    binary = window.view(np.uint8) if window.dtype == np.bool_ else window
    if window.size == 0:
        return None
    # Without the points inside straight runs: neither area nor convex hull needs them.
    contours, _ = cv2.findContours(binary, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return None
    area, best = max(((cv2.contourArea(contour), contour) for contour in contours), key=lambda pair: pair[0])
    return best if area > smallest_area else None


def _min_max(contour: np.ndarray) -> RotatedBox:
    x, y, w, h = cv2.boundingRect(contour)
    return from_box(np.array([x, y, w - 1, h - 1]))


def _ellipse(contour: np.ndarray) -> RotatedBox | None:
    if len(contour) < 6:  # five points fit any ellipse
        return None
    (ex, ey), (first, second), angle = cv2.fitEllipseDirect(contour)
    if not np.isfinite([ex, ey, first, second, angle]).all() or min(first, second) <= 0:
        return None
    turn = math.radians(angle)
    axes = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    across = (contour[:, 0] - np.array([ex, ey])) @ axes.T
    half = np.array([first, second]) / 2
    low, high = np.maximum(across.min(0), -half), np.minimum(across.max(0), half)
    if (high <= low).any():
        return None
    cx, cy = axes.T @ ((low + high) / 2) + (ex, ey)
    w, h = high - low
    return rotated_box(cx, cy, w, h, angle)
