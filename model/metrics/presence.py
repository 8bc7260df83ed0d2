"""How well a probability tells whether an object is there: ROC, precision and calibration."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

COVERED, MISSED = 0.5, 0.3
"""A mask covers its object from the first IoU on, and misses it below the second."""
BINS = 10


def roc_auc(score: NDArray[np.float64], is_positive: NDArray[np.bool_]) -> float:
    """The chance that a positive has a higher score than a negative, ties counting half (Mann and Whitney).

    Args:
        score, is_positive: [N]; NaN where either kind is missing.
    """
    positives = int(is_positive.sum())
    negatives = len(score) - positives
    if not positives or not negatives:
        return float("nan")
    values, place, count = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[place]
    return float((rank[is_positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def average_precision(score: NDArray[np.float64], is_positive: NDArray[np.bool_]) -> float:
    """The area below precision over recall, a step for each score that occurs; NaN where there is no positive."""
    if not is_positive.any():
        return float("nan")
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum(is_positive[order])
    last = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)
    precision, recall = hits[last] / (last + 1), hits[last] / hits[-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def calibration_error(probability: NDArray[np.float64], is_true: NDArray[np.bool_]) -> float:
    """Expected calibration error: the mean over ten equal bins of |mean probability - share that is true|."""
    bins = np.clip((probability * BINS).astype(int), 0, BINS - 1)
    count = np.bincount(bins, minlength=BINS)
    claimed = np.bincount(bins, probability, BINS)
    found = np.bincount(bins, is_true.astype(np.float64), BINS)
    return float(np.abs(claimed - found).sum() / max(1, count.sum()))
