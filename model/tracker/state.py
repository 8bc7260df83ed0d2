"""Where a track stands after a frame."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class TrackState:
    """The target's centre and size in frame pixels, origin at the frame's top-left corner."""

    centre_x: float
    centre_y: float
    width: float
    height: float

    @classmethod
    def from_box(cls, box: tuple[float, ...] | np.ndarray, frame_height: int, frame_width: int) -> TrackState:
        """Start from a box (x, y, w, h) of the init frame.

        Raises:
            ValueError: the box is not four finite numbers, is empty, or lies outside the frame.
        """
        values = [float(value) for value in box]
        if len(values) != 4 or not all(math.isfinite(value) for value in values):
            raise ValueError(f"an init box must be four finite numbers x, y, w, h, not {values}")
        x, y, width, height = values
        if width <= 0 or height <= 0:
            raise ValueError(f"the init box {values} has no area: width and height must be above 0")
        if x >= frame_width or y >= frame_height or x + width <= 0 or y + height <= 0:
            raise ValueError(f"the init box {values} lies outside the {frame_width}x{frame_height} frame")
        return cls(x + width / 2, y + height / 2, width, height)

    @property
    def centre(self) -> tuple[float, float]:
        """Its x and y."""
        return self.centre_x, self.centre_y

    @property
    def box(self) -> np.ndarray:
        """The axis-aligned box x, y, w, h, float64 [4]."""
        return np.array(
            [self.centre_x - self.width / 2, self.centre_y - self.height / 2, self.width, self.height], np.float64
        )
