"""Does the run know when it has lost an object, and find it again? Judged from rows and truth, frame by frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.metrics.presence import COVERED, MISSED, average_precision, calibration_error, roc_auc
from pipeline.evaluate.vos import JudgedRow, ObjectScores

FOUND_WITHIN = 15
"""Judged frames after an object's return within which its track is to be back."""


@dataclass(frozen=True, slots=True)
class ProbabilityFigures:
    """How well a column tells missed rows: area under ROC, average precision, expected calibration error."""

    auc: float
    average_precision: float
    calibration_error: float


@dataclass(frozen=True, slots=True)
class PresenceScores:
    """What is said of all judged rows together.

    Attributes:
        rows, missed: judged rows, and those of them whose mask misses the object (IoU below 0.3) or is of none.
        presence, score: the two columns; presence None where the run has no such column.
        absent, absent_right: rows of frames in which the object is not to be seen, and those of them that are lost or
            have an empty mask.
        there, there_lost: rows whose mask covers the object, and those of them that are lost.
        believed: rows that miss the object, and are not lost and not empty.
        j_there, f_there: mean J and F of the judged frames in which the object is to be seen, NaN where there is none.
        pairs, pairs_overlapping: two objects' masks in one frame, and those of them that lie on one another (IoU above
            0.5).
        swapped: rows that cover another object than their own.
        returns, found, delay: times that an object came back, see `return_delays`; how many of its tracks covered it
            within `FOUND_WITHIN` judged frames; the mean number of frames until then.
    """

    rows: int
    missed: int
    presence: ProbabilityFigures | None
    score: ProbabilityFigures
    absent: int
    absent_right: int
    there: int
    there_lost: int
    believed: int
    j_there: float
    f_there: float
    pairs: int
    pairs_overlapping: int
    swapped: int
    returns: int
    found: int
    delay: float


def presence_scores(scores: Sequence[ObjectScores]) -> PresenceScores | None:
    """The figures over all objects; None where there is no row to judge."""
    rows = [row for each in scores for row in each.rows]
    iou, score, presence = np.array([(row.iou, row.score, row.presence) for row in rows]).reshape(-1, 3).T
    seen, lost, empty = np.array([(row.is_seen, row.is_lost, row.is_empty) for row in rows], bool).reshape(-1, 3).T
    judged = ~np.isnan(score)
    if not judged.any():
        return None
    covered, missed, absent = iou >= COVERED, iou < MISSED, judged & ~seen
    known = judged & ~np.isnan(presence)
    returns = [delay for each in scores for delay in return_delays(each.rows)]
    found = [delay for delay in returns if delay is not None and delay <= FOUND_WITHIN]
    return PresenceScores(
        rows=int(judged.sum()),
        missed=int((judged & missed).sum()),
        presence=_figures(presence[known], missed[known], covered[known]) if known.any() else None,
        score=_figures(score[judged], missed[judged], covered[judged]),
        absent=int(absent.sum()),
        absent_right=int((absent & (lost | empty)).sum()),
        there=int((judged & covered).sum()),
        there_lost=int((judged & covered & lost).sum()),
        believed=int((judged & missed & ~lost & ~empty).sum()),
        j_there=_mean(np.concatenate([each.j for each in scores])[seen]),
        f_there=_mean(np.concatenate([each.f for each in scores])[seen]),
        pairs=sum(row.company.others for row in rows) // 2,
        pairs_overlapping=sum(row.company.overlapping for row in rows) // 2,
        swapped=sum(row.company.has_swapped for row in rows),
        returns=len(returns),
        found=len(found),
        delay=_mean(np.array(found)),
    )


def return_delays(rows: Sequence[JudgedRow]) -> list[int | None]:
    """For each time that an object comes back into sight: frames until its mask covers it and it is not called lost.

    It is back once half of it is to be seen: half of the median of its pixels in the frames before, where it was in
    sight. None where it goes out of sight, or the sequence ends, before it is found. An object that was never seen
    before has not come back, nor has one that shows less than half of itself.
    """
    delays: list[int | None] = []
    before: list[int] = []  # its pixels, frame by frame
    is_away, back = False, -1
    for index, row in enumerate(rows):
        if not row.is_seen:
            if back >= 0:
                delays.append(None)
            is_away, back = bool(before), -1
            continue
        if is_away and row.pixels >= np.median(before) / 2:
            is_away, back = False, index
        if back >= 0 and row.iou >= COVERED and not row.is_lost:
            delays.append(index - back)
            back = -1
        if not is_away:
            before.append(row.pixels)
    return [*delays, None] if back >= 0 else delays


def describe(scores: PresenceScores) -> list[str]:
    """Lines of Markdown, with the heading."""
    lines = ["## Is the object there", "", "| told by | AUROC | average precision | calibration error |"]
    lines.append("|---|---|---|---|")
    for name, figures in (("presence", scores.presence), ("score", scores.score)):
        if figures is not None:
            values = (figures.auc, figures.average_precision, figures.calibration_error)
            lines.append(f"| `{name}` | " + " | ".join(f"{value:.3f}" for value in values) + " |")
    lines += [
        "",
        f"{scores.missed} of {scores.rows} rows miss the object (IoU below 0.3); "
        f"{scores.believed} of them have a mask and are called tracked.",
    ]
    if scores.absent:
        lines.append(f"Where the object is to be seen, mean J is {scores.j_there:.3f} and mean F {scores.f_there:.3f}.")
    if scores.pairs:
        lines.append(
            f"Of {scores.pairs} pairs of objects in a frame, {scores.pairs_overlapping} lie on one another; "
            f"{scores.swapped} rows cover another object than their own."
        )
    if scores.there:
        lines.append(f"Of {scores.there} rows that cover it, {scores.there_lost} are called lost.")
    if scores.absent:
        lines.append(f"Of {scores.absent} rows where it is out of sight, {scores.absent_right} are lost or empty.")
    if scores.returns:
        mean = f", after {scores.delay:.1f} on average" if scores.found else ""
        lines.append(
            f"Of {scores.returns} returns, {scores.found} are covered within {FOUND_WITHIN} judged frames{mean}."
        )
    return lines


def _mean(values: NDArray[Any]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def _figures(
    probability: NDArray[np.float64], missed: NDArray[np.bool_], covered: NDArray[np.bool_]
) -> ProbabilityFigures:
    return ProbabilityFigures(
        roc_auc(-probability, missed), average_precision(-probability, missed), calibration_error(probability, covered)
    )
