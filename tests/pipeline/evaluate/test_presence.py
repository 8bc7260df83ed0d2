"""What is said of presence: which rows miss, how well a column tells them, and how soon an object is found again."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipeline.evaluate.presence import describe, presence_scores, return_delays
from pipeline.evaluate.run_masks import RunMask
from pipeline.evaluate.vos import JudgedRow, ObjectScores, judge_sequence
from tests.pipeline.evaluate.made_masks import rle, square

NONE = np.zeros((60, 100), np.uint8)


def scored(rows: tuple[JudgedRow, ...]) -> ObjectScores:
    return ObjectScores("dog", "1", "", None, tuple(range(len(rows))), np.ones(len(rows)), np.ones(len(rows)), 1.0, (),
                        rows=rows)  # fmt: skip


def test_rows_are_judged_by_their_own_masks() -> None:
    """Out of sight in frames 2 and 3; the track stands still and moves away in frame 4, where it has no row."""
    truth = {frame: {"1": rle(NONE if frame in (2, 3) else square(20))} for frame in range(6)}
    found = {
        frame: {"1": RunMask(rle(square(20)), 0.9, presence, state)}
        for frame, presence, state in ((0, 1.0, "tracked"), (1, 0.8, "tracked"), (2, 0.1, "lost"), (3, 0.6, "tracked"))
    }
    (row,) = judge_sequence("dog", truth, found, "davis")
    assert row["rows"][:3] == (
        JudgedRow(True, 1.0, 0.9, 0.8, False, False, pixels=int(square(0).sum())),
        JudgedRow(False, 0.0, 0.9, 0.1, True, False, pixels=0),
        JudgedRow(False, 0.0, 0.9, 0.6, False, False, pixels=0),
    )
    assert not row["rows"][3].iou and math.isnan(row["rows"][3].score)
    told = presence_scores([ObjectScores(**row, category="", seen=None)])
    assert told is not None and told.presence is not None
    assert (told.rows, told.missed, told.absent, told.absent_right) == (3, 2, 2, 1)
    assert (told.presence.auc, told.score.auc) == (1, 0.5)
    assert told.presence.calibration_error == pytest.approx((0.2 + 0.1 + 0.6) / 3)
    assert (told.there, told.there_lost, told.believed, told.returns, told.found) == (1, 0, 1, 1, 0)
    text = "\n".join(describe(told))
    assert "2 of 3 rows miss" in text and "Of 1 returns, 0 are covered" in text and "| `presence` | 1.000 |" in text


def seen(*ious: float | None) -> tuple[JudgedRow, ...]:
    """None is out of sight."""
    return tuple(JudgedRow(False) if iou is None else JudgedRow(True, iou, 0.9, 0.9) for iou in ious)


@pytest.mark.parametrize(
    ("ious", "delays"),
    [
        ((0.8, 0.8), []),
        ((None, 0.8), []),
        ((0.8, None, 0.8), [0]),
        ((0.8, None, None, 0.1, 0.4, 0.6, 0.1), [2]),
        ((0.8, None, 0.1, 0.2), [None]),
        ((0.8, None, 0.1, None, 0.7), [None, 0]),
    ],
)
def test_a_return_is_found_when_a_mask_covers_the_object_again(ious: tuple, delays: list) -> None:
    assert return_delays(seen(*ious)) == delays


def test_an_object_is_back_with_half_of_it_and_found_when_it_is_not_called_lost() -> None:
    rows = [
        *seen(0.8, None),
        *(JudgedRow(True, 0.9, 0.9, 0.9, is_lost=lost, pixels=pixels)
          for pixels, lost in ((40, False), (49, False), (50, True), (80, True), (100, False))),
    ]  # fmt: skip
    assert return_delays([row._replace(pixels=100) if row.pixels == 1 else row for row in rows]) == [2]
    assert return_delays([rows[0]._replace(pixels=100), *rows[1:4]]) == [], "it shows less than half of itself"


def test_an_output_without_the_column_is_judged_by_its_score_alone() -> None:
    rows = tuple(JudgedRow(True, iou, score) for iou, score in ((0.9, 0.9), (0.1, 0.2), (0.8, 0.7)))
    told = presence_scores([scored(rows)])
    assert told is not None and told.presence is None and told.score.auc == 1
    assert not any("`presence`" in line for line in describe(told))
    assert presence_scores([scored((JudgedRow(True),))]) is None


def test_objects_on_one_another_and_on_anothers_place() -> None:
    """`1` follows `2` from frame 2 on, where `2` is found; `3` is alone."""
    truth = {frame: {"1": rle(square(0)), "2": rle(square(40)), "3": rle(square(75))} for frame in range(6)}
    found = {
        frame: {"1": RunMask(rle(square(0 if frame < 2 else 42)), 0.9), "2": RunMask(rle(square(40)), 0.9),
                "3": RunMask(rle(square(75)), 0.9)}
        for frame in range(6)
    }  # fmt: skip
    scores = [ObjectScores(**row, category="", seen=None) for row in judge_sequence("dog", truth, found, "davis")]
    told = presence_scores(scores)
    assert told is not None
    assert (told.pairs, told.pairs_overlapping, told.swapped) == (12, 3, 3)
    assert [row.company.has_swapped for row in scores[0].rows] == [False, True, True, True]
    assert "Of 12 pairs of objects in a frame, 3 lie on one another; 3 rows cover another" in "\n".join(describe(told))


def test_j_and_f_where_the_object_is_to_be_seen() -> None:
    truth = {frame: {"1": rle(NONE if frame in (2, 3) else square(20))} for frame in range(6)}
    found = {frame: {"1": RunMask(rle(square(20)), 0.9, 0.8, "tracked")} for frame in range(6)}
    (row,) = judge_sequence("dog", truth, found, "davis")
    told = presence_scores([ObjectScores(**row, category="", seen=None)])
    assert told is not None and (told.j_there, told.f_there) == (1, 1) and row["j"].mean() == 0.5
