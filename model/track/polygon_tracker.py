"""SiamMask as VOT runs a tracker: from a polygon in the first frame to a polygon in every other."""

from __future__ import annotations

import numpy as np

from model.engine import Engine, Track, TrackOutput
from model.masks.finish import finish
from model.masks.init_box import box_from_polygon

_DECIMALS = 4  # as TraX passes corners on, so that whoever judges them rounds the same numbers to pixels


class EngineTracker:
    """One object at a time on an engine, which may be shared; a `model.metrics.PolygonTracker`.

    Args:
        engine: holds the network.
        rule: how a mask becomes a rotated box, see `model.masks.finish.finish`.
    """

    def __init__(self, engine: Engine, rule: str = "mbr") -> None:
        self._engine = engine
        self._rule = rule
        self._track: Track | None = None
        self.score = 0.0

    def start(self, frame: np.ndarray, polygon: np.ndarray) -> None:
        """Start on a frame, uint8 [H, W, 3] BGR, with the object's polygon, [8] x1, y1 … x4, y4.

        Raises:
            ValueError: frame or polygon cannot be used.
        """
        self._track, output = self._engine.init(frame, box_from_polygon(polygon)).result()
        self.score = output.score

    def track(self, frame: np.ndarray) -> np.ndarray:
        """Track into the next frame and return the rotated box, float32 [8], to four decimals; sets `score`.

        Raises:
            RuntimeError: the tracker was not started.
            ValueError: the frame cannot be used.
        """
        if self._track is None:
            raise RuntimeError("the tracker has no object yet: start it on a frame first")
        output: TrackOutput = self._engine.step(self._track, frame).result()
        self.score = output.score
        return np.round(finish(output, frame.shape[0], frame.shape[1], self._rule).corners, _DECIMALS)
