"""vot-toolkit itself runs our tracker over TraX, and says of it what our own evaluation says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from jobs.vot_tracker import app
from model.metrics import EAO_WINDOWS, Trajectory, scores
from model.metrics.vot import RULES
from pipeline.evaluate.engine import EngineOptions, open_engine
from pipeline.evaluate.sequences import find_sequences
from pipeline.evaluate.vot import judge_vot
from tests.vot_judge import Judged, judge, jumping_square

WINDOW = (4, 12)


def assert_same(ours: Trajectory, theirs: Judged, window: tuple[int, int], tolerance: float) -> None:
    assert ours.states.tolist() == theirs.kinds
    assert np.nan_to_num(ours.overlaps) == pytest.approx(theirs.overlaps, abs=tolerance)
    found = scores([ours], "vot-toolkit", window)
    assert found.accuracy == pytest.approx(theirs.accuracy, abs=tolerance)
    assert found.robustness == theirs.failures
    assert found.reliability == pytest.approx(theirs.reliability, abs=tolerance)
    assert found.curve == pytest.approx(theirs.curve, abs=tolerance)
    assert found.eao == pytest.approx(theirs.curve[window[0] : window[1] + 1].mean(), abs=tolerance)


def test_a_rotated_box_that_is_none_is_refused_before_the_client_hears_of_the_tracker() -> None:
    pytest.importorskip("trax", reason="needs vot-trax, which has wheels for Linux on x86-64 only")
    result = CliRunner().invoke(app, ["--device", "cpu", "--rotated-box", "round"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert (
        result.stderr == "error: --rotated-box: no rule 'round' from mask to box: expected one of "
        "minmax, mbr, opt, ellipse\n"
    )


def test_vot_toolkit_runs_the_tracker_and_agrees(tmp_path: Path) -> None:
    jumping_square(tmp_path / "sequences")
    (sequence,) = find_sequences(tmp_path / "sequences")
    with open_engine(EngineOptions(device="cpu")) as engine:
        ours = judge_vot([sequence], engine, windows=dict.fromkeys(RULES, WINDOW)).trajectories[0]
    assert len(ours.losses) >= 2  # the protocol's restarts are part of what is compared
    assert_same(ours, judge(tmp_path / "workspace", sequence.frames(), sequence.truth), WINDOW, 1e-6)


@pytest.mark.slow
@pytest.mark.shared
def test_bag_scores_as_under_vot_toolkit(shared: Path, tmp_path: Path, say: Callable[[str], None]) -> None:
    (sequence,) = find_sequences(shared / "data" / "videos", ("pysot_bag",))
    with open_engine(EngineOptions(device="cpu")) as engine:
        ours = judge_vot([sequence], engine, windows=EAO_WINDOWS["vot2018"])
    theirs = judge(tmp_path / "workspace", sequence.frames(), sequence.truth)
    found = ours.scores[1]
    difference = np.abs(np.nan_to_num(ours.trajectories[0].overlaps) - theirs.overlaps).max()
    say(
        f"pysot_bag: A {found.accuracy:.5f} and {theirs.accuracy:.5f}, "
        f"losses {found.losses} and {theirs.failures:.0f}, EAO {found.eao:.5f} and {theirs.curve[100:357].mean():.5f}, "
        f"overlaps within {difference:.1e}"
    )
    assert_same(ours.trajectories[0], theirs, (100, 356), 1e-3)
