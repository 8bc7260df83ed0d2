"""A made-up clip to judge, and what a tracker would say that finds it."""

from __future__ import annotations

import numpy as np

from model.engine import TrackOutput
from model.training.evaluate import HeldOutClip


def moving_square(frames: int = 5) -> HeldOutClip:
    truth = np.zeros((frames, 120, 160), bool)
    for index in range(frames):
        truth[index, 40:80, 30 + 10 * index : 70 + 10 * index] = True
    pictures = np.where(truth[..., None], np.uint8(220), np.uint8(30)).repeat(3, axis=-1)
    return HeldOutClip("square", pictures, truth, (30.0, 40.0, 40.0, 40.0))


def perfect(clip: HeldOutClip, index: int) -> TrackOutput:
    """An output whose mask is the truth, given as a square of the frame about it."""
    columns = np.flatnonzero(clip.truth[index].any(axis=0))
    probability = np.zeros((127, 127), np.float32)
    probability[40:80, 40:80] = 0.9
    window = (float(columns[0] - 40), 0.0, 127.0, 127.0)
    return TrackOutput(1.0, np.array([columns[0], 40.0, 40, 40]), probability, window, 0.5)
