"""Fit presence: track clips with and without troubles, compare every mask with the truth, and regress.

Sequences are kept whole when the fit is judged: each is predicted by a fit to the others.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.engine import Engine
from model.metrics import region_j
from model.metrics.presence import COVERED, MISSED, average_precision, calibration_error, roc_auc
from model.tracker.presence import CUES, PresenceFit
from model.training.evaluate import HeldOutClip, pasted, track

FOLDS = 5
_UNTOUCHED = 3.0  # weight of the rows of a clip without trouble: most clips of a corpus are such
_RIDGE = 5.0
_ROUNDS = 30
_LIKENESS = [CUES.index(name) for name in ("likeness", "slow_likeness")]


@dataclass(frozen=True, slots=True)
class PlayedClip:
    """What tracking one clip showed, a row a frame after the first.

    Attributes:
        sequence: the sequence that the clip was made of; clips of one are never apart in a judgement.
        cues: float64 [N, len(CUES)]. score: float64 [N]. iou: float64 [N], 0 where the object is not to be seen.
        is_troubled: whether its pictures were changed.
    """

    sequence: str
    cues: NDArray[np.float64]
    score: NDArray[np.float64]
    iou: NDArray[np.float64]
    is_troubled: bool


@dataclass(frozen=True, slots=True)
class PresenceFigures:
    """How well a probability tells missed frames (IoU below 0.3), and how true it is (ECE, IoU of 0.5 or more)."""

    frames: int
    missed: int
    auc: float
    precision: float
    calibration: float


def play(engine: Engine, clip: HeldOutClip, sequence: str, *, is_troubled: bool) -> PlayedClip:
    """Track a clip and compare its masks with the truth."""
    height, width = clip.frames.shape[1:3]
    outputs = track(engine, clip)[1:]
    overlaps = [
        region_j(pasted(output, height, width), truth) if truth.any() else 0.0
        for output, truth in zip(outputs, clip.truth[1:], strict=True)
    ]
    cues = np.array([output.cues for output in outputs])
    return PlayedClip(sequence, cues, np.array([output.score for output in outputs]), np.array(overlaps), is_troubled)


def fit_presence(clips: Sequence[PlayedClip], *, with_likeness: bool = True) -> PresenceFit:
    """Fit the regression to clips, by Newton's method with a ridge.

    Args:
        with_likeness: whether features are compared; their scale is another one in every network.

    Raises:
        ValueError: all rows are covered, or none.
    """
    cues = np.concatenate([clip.cues for clip in clips])
    covered = np.concatenate([clip.iou >= COVERED for clip in clips]).astype(np.float64)
    if covered.min() == covered.max():
        raise ValueError("the clips do not show both: masks that cover their object and masks that do not")
    weight = np.concatenate([np.full(len(clip.iou), 1.0 if clip.is_troubled else _UNTOUCHED) for clip in clips])
    mean, scale = cues.mean(0), cues.std(0) + 1e-6
    start = PresenceFit(tuple(mean), tuple(scale), (0.0,) * len(CUES), 0.0)
    rows = np.column_stack([start.distance(cues), np.ones(len(cues))])
    ridge = np.full(rows.shape[1], _RIDGE)
    ridge[-1] = 1e-3
    if not with_likeness:
        rows[:, _LIKENESS] = 0
    solution = np.zeros(rows.shape[1])
    for _ in range(_ROUNDS):
        probability = 1 / (1 + np.exp(-(rows @ solution)))
        slope = rows.T @ (weight * (probability - covered)) + ridge * solution
        curve = (rows * (weight * probability * (1 - probability))[:, None]).T @ rows + np.diag(ridge)
        solution = solution - np.linalg.solve(curve, slope)
    *weights, bias = (round(float(value), 5) for value in solution)
    means, scales = (tuple(round(float(value), 5) for value in values) for values in (mean, scale))
    return PresenceFit(means, scales, tuple(weights), bias)


def cross_validate(clips: Sequence[PlayedClip], *, with_likeness: bool = True) -> PresenceFigures:
    """The figures of clips that were each predicted by a fit to clips of other sequences."""
    names = sorted({clip.sequence for clip in clips})
    probability: list[NDArray[np.float64]] = []
    judged: list[PlayedClip] = []
    for fold in range(min(FOLDS, len(names))):
        apart = set(names[fold::FOLDS])
        fit = fit_presence([clip for clip in clips if clip.sequence not in apart], with_likeness=with_likeness)
        members = [clip for clip in clips if clip.sequence in apart]
        probability += [fit.probability(clip.cues) for clip in members]
        judged += members
    return figures(probability, [clip.iou for clip in judged])


def figures(probability: Iterable[NDArray[np.float64]], iou: Iterable[NDArray[np.float64]]) -> PresenceFigures:
    """Judge probabilities by the overlaps of their masks, clip by clip."""
    presence, overlap = np.concatenate(list(probability)), np.concatenate(list(iou))
    missed = overlap < MISSED
    if missed.all() or not missed.any():
        return PresenceFigures(len(overlap), int(missed.sum()), math.nan, math.nan, math.nan)
    return PresenceFigures(
        len(overlap),
        int(missed.sum()),
        roc_auc(-presence, missed),
        average_precision(-presence, missed),
        calibration_error(presence, overlap >= COVERED),
    )
