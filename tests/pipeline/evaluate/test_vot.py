"""VOT's rules as a table and a chart: one schema whatever the data, and each rule's own window."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from model.metrics import EAO_WINDOWS, State, Trajectory, scores
from model.metrics.vot import RULES
from pipeline.evaluate import plots
from pipeline.evaluate.vot import RULE_ROWS, rule_table

WINDOWS = EAO_WINDOWS["vot2016"]


def trajectory(length: int) -> Trajectory:
    states = np.array([State.STARTED, *[State.TRACKED] * (length - 1)], np.int8)
    return Trajectory("s", states, np.zeros((length, 8), np.float32), np.where(states == State.TRACKED, 0.5, np.nan))


@pytest.mark.parametrize("length", [5, 130])
def test_the_table_of_rules_has_one_schema_whatever_the_data(length: int) -> None:
    table = rule_table([scores([trajectory(length)], rule, WINDOWS[rule]) for rule in RULES])
    assert table.schema == RULE_ROWS
    reference, toolkit = table.to_pylist()
    assert (reference["low"], reference["high"]) == (100, 356)
    assert (toolkit["low"], toolkit["high"]) == (108, 371)
    for row in (reference, toolkit):
        assert row["eao"] == (None if length == 5 else pytest.approx(0.5))
    # Of five frames none counts towards accuracy: `reference` has nothing to take the mean of.
    assert reference["accuracy"] == (None if length == 5 else pytest.approx(0.5))
    assert toolkit["accuracy"] == (0.0 if length == 5 else pytest.approx(0.5))


def test_the_chart_says_each_rules_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "_png", lambda figure: figure)
    figure: Any = plots.eao([scores([trajectory(130)], rule, WINDOWS[rule]) for rule in RULES])
    _, labels = figure.axes[0].get_legend_handles_labels()
    assert labels == [
        "reference   EAO 0.5000, 100 to 356 frames",
        "vot-toolkit   EAO 0.5000, 108 to 371 frames",
    ]
