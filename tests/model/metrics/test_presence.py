"""ROC, precision and calibration, against their definitions counted pair by pair and against known values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.metrics.presence import average_precision, calibration_error, roc_auc


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40))
def test_roc_is_the_share_of_pairs_in_order(rows: list[tuple[int, bool]]) -> None:
    score, positive = np.array([row[0] for row in rows], float), np.array([row[1] for row in rows])
    if positive.all() or not positive.any():
        assert np.isnan(roc_auc(score, positive))
        return
    pairs = np.sign(score[positive][:, None] - score[~positive][None]) / 2 + 0.5
    assert roc_auc(score, positive) == pytest.approx(pairs.mean())


def test_precision_of_known_orders() -> None:
    positive = np.array([True, False, True, False])
    assert average_precision(np.array([4.0, 3, 2, 1]), positive) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert average_precision(np.ones(4), positive) == pytest.approx(0.5)
    assert average_precision(np.array([4.0, 1, 3, 2]), positive) == 1
    assert np.isnan(average_precision(np.ones(2), np.zeros(2, bool)))


def test_calibration_is_the_gap_between_what_is_claimed_and_what_is() -> None:
    probability = np.array([0.9] * 10 + [0.2] * 10)
    assert calibration_error(probability, np.array([True] * 9 + [False] + [True] * 2 + [False] * 8)) == pytest.approx(0)
    assert calibration_error(probability, np.array([True] * 10 + [True] * 5 + [False] * 5)) == pytest.approx(0.2)
    assert calibration_error(np.array([1.0, 0.0]), np.array([False, True])) == 1
