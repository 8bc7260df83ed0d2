"""Presence: what is measured of a window, the cues of a track, and a fit's record."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from model.network.anchors import SCORE_SIZE
from model.tracker import TrackState
from model.tracker.choose import Choice
from model.tracker.evidence import Evidence
from model.tracker.presence import CUES, GENERIC, MEASURES, PresenceError, PresenceFit, TrackMemory, presence_of

ELSEWHERE, AREA, CERTAINTY, AMBIGUITY, PENALTY, PEAK, PEAK_X, PEAK_Y = range(MEASURES)


def chosen(cells: torch.Tensor, row: int, column: int, size: float = 32.0) -> Choice:
    """The candidate of a cell, a square of the given side."""
    batch = len(cells)
    number = torch.ones(batch)
    place = torch.ones(batch, dtype=torch.int64)
    shift, sides = torch.zeros(batch, 2), torch.full((batch, 2), size)
    steps = (torch.arange(SCORE_SIZE) - SCORE_SIZE // 2) * 8.0
    centres = torch.stack(torch.meshgrid(steps, steps, indexing="xy"))[:, None].expand(2, *cells.shape)
    return Choice(number * 0.9, number * 0.8, place * row, place * column, shift, sides, cells, cells, centres)


@pytest.mark.parametrize("side", [127, 63])
def test_a_second_peak_counts_only_where_it_is_apart(side: int) -> None:
    cells = torch.full((3, SCORE_SIZE, SCORE_SIZE), 0.1)
    cells[:, 12, 12] = 0.9
    cells[1, 12, 15] = 0.7  # 24 pixels: within half the box and 8 pixels
    cells[2, 12, 16] = 0.7  # 32 pixels
    masks = torch.zeros(3, side, side)
    masks[:, side // 4 : side // 2, side // 4 : side // 2] = 1.0
    measured = Evidence(0.5).measure(chosen(cells, 12, 12), masks, torch.randn(3, 8, 7, 7))
    assert measured[:, ELSEWHERE].tolist() == pytest.approx([0.1, 0.1, 0.7])
    assert measured[:, AREA].tolist() == pytest.approx([127**2 / 16] * 3, rel=0.05)
    assert measured[:, CERTAINTY].tolist() == [1] * 3 and measured[:, AMBIGUITY].abs().max() == 0
    assert measured[:, PENALTY].tolist() == pytest.approx([0.8] * 3)
    assert measured[2, PEAK:].tolist()[:3] == pytest.approx([0.7, 32.0, 0.0])


def test_an_undecided_mask_is_ambiguous_and_an_empty_one_has_measures() -> None:
    cells = torch.zeros(2, SCORE_SIZE, SCORE_SIZE)
    masks = torch.zeros(2, 127, 127)
    masks[1, 30:90, 30:90] = 0.6
    measured = Evidence(0.5).measure(chosen(cells, 0, 24), masks, torch.ones(2, 8, 7, 7))
    assert torch.isfinite(measured).all()
    assert measured[0, :PENALTY].tolist() == [0] * 4
    assert measured[1, AMBIGUITY] > 1.5 and measured[1, CERTAINTY] == pytest.approx(0.6)


def test_the_appearance_is_that_of_the_masks_features() -> None:
    """Two objects side by side in one place: the mask says whose features count."""
    patches = torch.zeros(2, 4, 7, 7)
    patches[:, 0, :, :3], patches[:, 1, :, 3:] = 1.0, 1.0  # 8 mask pixels a feature, from pixel 35 on
    masks = torch.zeros(2, 127, 127)
    masks[0, 40:90, 35:59], masks[1, 40:90, 59:91] = 1.0, 1.0
    appearance = Evidence(0.5).measure(chosen(torch.zeros(2, 25, 25), 12, 12), masks, patches)[:, MEASURES:]
    assert appearance.shape == (2, 4)
    assert appearance[0, 0] > 0.95 and appearance[1, 1] > 0.95


def evidence(*, elsewhere: float = 0.1, area: float = 4000.0, looks: tuple[float, float] = (1.0, 0.0)) -> np.ndarray:
    return np.array([elsewhere, area, 0.9, 0.2, 1.0, elsewhere, 0, 0, *looks], np.float32)


def test_cues_of_a_track_that_stays_moves_shrinks_and_changes() -> None:
    state = TrackState(50.0, 40.0, 20.0, 20.0)
    memory = TrackMemory.start(evidence())
    still = dict(zip(CUES, memory.cues(evidence(), 0.9, state, state), strict=True))
    assert still["likeness"] == still["slow_likeness"] == pytest.approx(1)
    assert still["margin"] == pytest.approx(math.log(9) + math.log(9))
    assert still["area_change"] == still["area_step"] == 0
    moved = TrackState(70.0, 40.0, 20.0, 20.0)
    changed = evidence(elsewhere=0.9, area=400.0, looks=(0.0, 2.0))
    after = dict(zip(CUES, memory.cues(changed, 0.9, state, moved), strict=True))
    assert after["jump"] == pytest.approx(math.log(1.02)) and after["jump"] > still["jump"]
    assert after["likeness"] == pytest.approx(0) and after["slow_likeness"] == pytest.approx(0.7)
    assert after["margin"] == pytest.approx(0, abs=1e-6)
    assert after["area_change"] == after["area_step"] == pytest.approx(math.log(10), rel=0.01)
    again = dict(zip(CUES, memory.cues(changed, 0.9, moved, moved), strict=True))
    assert again["area_step"] == 0 and again["area_change"] == after["area_change"]
    assert again["slow_likeness"] == pytest.approx(0.49)


def test_a_fit_comes_back_from_its_record_and_judges_one_row_as_many() -> None:
    rng = np.random.default_rng(0)
    mean, scale, weights = (tuple(row) for row in rng.uniform(0.5, 2, (3, len(CUES))).tolist())
    fit = PresenceFit(mean, scale, weights, bias=0.25, odds=2.0)
    again = presence_of({"presence": fit.to_dict()})
    cues = rng.normal(size=(5, len(CUES)))
    assert again == fit and presence_of({}) is GENERIC
    probability = fit.probability(cues)
    assert ((probability > 0) & (probability < 1)).all()
    assert [float(fit.probability(row)) for row in cues] == pytest.approx(probability.tolist())


def test_a_row_shows_the_probability_with_its_odds_multiplied() -> None:
    fit = replace(GENERIC, odds=2.0)
    assert [fit.shown(p) for p in (0.0, 0.2, 0.5, 1.0)] == pytest.approx([0, 0.4 / 1.2, 2 / 3, 1])
    assert GENERIC.shown(0.3) == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: record.pop("bias"), "not that of a fit"),
        (lambda record: record.update(odds=0), "a scale of 0"),
        (lambda record: record["cues"].pop("jump"), "is of the cues"),
        (lambda record: record["cues"]["jump"].__setitem__(1, 0.0), "a scale of 0"),
        (lambda record: record["cues"]["jump"].__setitem__(2, math.nan), "not finite"),
        (lambda record: record["cues"].__setitem__("jump", "high"), "not that of a fit"),
    ],
)
def test_a_record_that_cannot_be_used_says_why(change, message: str) -> None:
    record = GENERIC.to_dict()
    change(record)
    with pytest.raises(PresenceError, match=message):
        PresenceFit.from_dict(record)


def test_the_generic_fit_is_sure_of_a_good_frame_and_not_of_a_bad_one() -> None:
    good = np.array([6.0, 5.0, 0.9, 0.3, 0.97, 1.0, -3.0, 0.1, 0.05, 6.0, 5.0, 0.9, 0.3])
    bad = np.array([-1.0, -1.0, 0.1, 1.2, 0.7, 0.98, 0.0, 2.0, 1.0, -0.5, 0.0, 0.1, 1.2])
    assert GENERIC.probability(good) > 0.8 > 0.2 > GENERIC.probability(bad)
