"""Presets, and the choice of the next box worked out by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from model.network.anchors import anchors
from model.tracker import (
    PRESETS,
    PresetError,
    TrackerParams,
    TrackState,
    load_params,
    params_from_json,
)
from model.tracker.choose import Chooser

PLAIN = TrackerParams(penalty_k=0.0, window_influence=0.0, lr=1.0, mask_threshold=0.5)


def test_published_presets():
    values = {name: json.loads(params.to_json()) for name, params in PRESETS.items()}
    assert {
        name: tuple(v[k] for k in ("penalty_k", "window_influence", "lr", "mask_threshold"))
        for name, v in values.items()
    } == {
        "vot": (0.04, 0.42, 0.25, 0.30),
        "vot18": (0.10, 0.41, 0.32, 0.15),
        "davis": (0.04, 0.40, 1.0, 0.35),
        "robust": (0.04, 0.42, 0.25, 0.50),
        "default": (0.09, 0.39, 0.38, 0.30),
    }
    assert load_params("davis") is PRESETS["davis"]
    for name, value in values.items():
        assert {key: switch for key, switch in value.items() if isinstance(switch, bool)} == (
            {"recovery": True, "joint": True, "mask_box": True} if name == "robust" else {}
        )
    assert params_from_json(PRESETS["robust"].to_json()) == PRESETS["robust"]


def test_presets_from_files(tmp_path):
    file = tmp_path / "mine.json"
    file.write_text('{"preset": "vot", "seg_thr": 0.4, "lr": 1}')
    assert load_params(str(file)) == TrackerParams(0.04, 0.42, 1, 0.4)
    assert params_from_json("{}") == PRESETS["default"]
    assert params_from_json(PRESETS["vot18"].to_json()) == PRESETS["vot18"]
    assert params_from_json('{"lr": 1}').to_json() == params_from_json('{"lr": 1.0}').to_json()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "mine.json: not JSON"),
        ("[1]", "mine.json: expected a JSON object"),
        ('{"penalty": 1}', "mine.json: unknown hyper-parameter 'penalty'; there are .*penalty_k"),
        ('{"lr": 1.5}', "mine.json: lr must be from 0 to 1, not 1.5"),
        ('{"lr": "fast"}', "mine.json: lr must be a number, not 'fast'"),
        ('{"lr": true}', "lr must be a number"),
        ('{"penalty_k": NaN}', "penalty_k must be a number"),
        ('{"penalty_k": -1}', "penalty_k must be 0 or more"),
        ('{"preset": "coco"}', "no preset 'coco'; there are vot, vot18, davis, robust, default"),
        ('{"seg_thr": 0.1, "mask_threshold": 0.2}', "mask_threshold is given twice"),
    ],
)
def test_broken_presets_are_named(text, message):
    with pytest.raises(PresetError, match=message):
        params_from_json(text, "mine.json")


def test_a_preset_that_is_neither_name_nor_file():
    with pytest.raises(PresetError, match="'vto' is neither one of vot, vot18, davis, robust, default nor a readable"):
        load_params("vto")


def responses(candidates, k=5):
    """Logits with the given candidates {(anchor, row, column): (logit, dx, dy, dw, dh)} above a low floor."""
    score, box = torch.zeros(1, 2, k, 25, 25), torch.zeros(1, 4, k, 25, 25)
    score[:, 1] = -20
    for (anchor, row, column), (logit, *delta) in candidates.items():
        score[0, 1, anchor, row, column] = logit
        box[0, :, anchor, row, column] = torch.tensor(delta)
    return score.flatten(1, 2), box.flatten(1, 2)


def test_the_best_candidate_is_decoded():
    score, box = responses({(1, 3, 20): (2.0, 0.1, -0.2, 0.3, -0.4), (2, 12, 12): (1.0, 0, 0, 0, 0)})
    choice = Chooser(PLAIN).choose(score, box, torch.tensor([[60.0, 60.0]]))
    cx, cy, w, h = anchors()[1, 3, 20]
    assert (choice.row.item(), choice.column.item()) == (3, 20)
    assert choice.score.item() == pytest.approx(1 / (1 + math.exp(-2)))
    assert choice.penalty.item() == 1
    assert choice.shift[0].tolist() == pytest.approx([cx + 0.1 * w, cy - 0.2 * h])
    assert choice.size[0].tolist() == pytest.approx([w * math.exp(0.3), h * math.exp(-0.4)], rel=1e-6)


def test_change_of_scale_and_ratio_is_penalised():
    # The same size as the target at a little lower score beats twice the size.
    candidates = {(2, 10, 10): (2.0, 0, 0, math.log(2), math.log(2)), (2, 14, 14): (1.9, 0, 0, 0, 0)}
    score, box = responses(candidates)
    target = torch.tensor([[64.0, 64.0]])
    assert Chooser(PLAIN).choose(score, box, target).row.item() == 10
    strict = TrackerParams(penalty_k=0.2, window_influence=0.0, lr=1.0, mask_threshold=0.5)
    assert Chooser(strict).choose(score, box, target).row.item() == 14
    # exp(-(scale change × ratio change - 1) k), by hand: a candidate of 128x32 for a target of 64x64.
    wide = responses({(2, 10, 10): (2.0, 0, 0, math.log(2), -math.log(2))})
    choice = Chooser(strict).choose(*wide, target)
    side = math.sqrt((128 + 80) * (32 + 80))
    assert choice.penalty.item() == pytest.approx(math.exp(-(side / 128 * 4 - 1) * 0.2), rel=1e-5)


def test_the_cosine_window_prefers_the_middle():
    score, box = responses({(2, 0, 0): (3.0, 0, 0, 0, 0), (2, 12, 12): (1.0, 0, 0, 0, 0)})
    target = torch.tensor([[64.0, 64.0]])
    assert Chooser(PLAIN).choose(score, box, target).row.item() == 0
    damped = TrackerParams(penalty_k=0.0, window_influence=0.4, lr=1.0, mask_threshold=0.5)
    choice = Chooser(damped).choose(score, box, target)
    assert choice.row.item() == 12
    assert choice.score.item() == pytest.approx(1 / (1 + math.exp(-1)))  # the plain score is reported


def moved(state, choice_logit=20.0, delta=(0.5, -0.25, 0.0, 0.0), lr=1.0, scale=2.0, frame=(400.0, 300.0), hold=False):
    score, box = responses({(2, 12, 12): (choice_logit, *delta)})
    chooser = Chooser(TrackerParams(0.0, 0.0, lr, 0.5))
    choice = chooser.choose(score, box, torch.tensor([[64.0, 64.0]]))
    new = chooser.update(
        choice,
        torch.tensor([state], dtype=torch.float64),
        torch.tensor([scale], dtype=torch.float64),
        torch.tensor([frame], dtype=torch.float64),
        torch.tensor([hold]),
    )
    return new[0].tolist()


def test_the_state_follows_the_choice():
    # The anchor is 64x64 search pixels, 32x32 of the frame at scale 2; the centre moves by (32, -16) / 2.
    assert moved([100, 100, 40, 20]) == pytest.approx([116, 92, 32, 32], rel=1e-6)
    assert moved([100, 100, 40, 20], choice_logit=0.0, lr=0.5) == pytest.approx([116, 92, 38, 23], rel=1e-6)
    assert moved([100, 100, 40, 20], hold=True) == [100, 100, 40, 20]


def test_the_state_stays_in_the_frame():
    assert moved([395, 5, 40, 20])[:2] == [400, 0]
    assert moved([100, 100, 40, 20], delta=(0, 0, -5, -5))[2:] == [10, 10]
    assert moved([100, 100, 40, 20], delta=(0, 0, 3, 3))[2:] == [400, 300]


def test_batches_are_their_parts():
    rng = np.random.default_rng(0)
    score = torch.from_numpy(rng.standard_normal((6, 10, 25, 25)).astype(np.float32))
    box = torch.from_numpy(0.2 * rng.standard_normal((6, 20, 25, 25)).astype(np.float32))
    target = torch.from_numpy(rng.uniform(30, 90, (6, 2)).astype(np.float32))
    chooser = Chooser(PRESETS["vot"])
    together = chooser.choose(score, box, target)
    for i in range(6):
        alone = chooser.choose(score[i : i + 1], box[i : i + 1], target[i : i + 1])
        assert (alone.row.item(), alone.column.item()) == (together.row[i].item(), together.column[i].item())
        assert torch.allclose(alone.shift[0], together.shift[i])
        assert torch.allclose(alone.size[0], together.size[i])


def test_two_branch_box_comes_from_the_mask():
    score = torch.full((2, 1, 25, 25), -20.0)
    score[:, 0, 10, 14] = 3.0
    chooser = Chooser(PLAIN)
    target = torch.tensor([[50.0, 40.0], [50.0, 40.0]])
    choice = chooser.choose(score, None, target)
    assert choice.score.tolist() == pytest.approx([1 / (1 + math.exp(-3))] * 2)
    assert choice.shift[0].tolist() == [16, -16]  # cells from the middle, 8 px each
    mask = torch.zeros(2, 127, 127)
    mask[0, 30:51, 60:100] = 0.9  # rows 30..50, columns 60..99
    seen = chooser.box_from_mask(choice, mask)
    # The mask's top-left is ((14 - 4) * 8, (10 - 4) * 8) of the search window; its centre is 127.5.
    assert seen.shift[0].tolist() == [80 + 80 - 127.5, 48 + 40.5 - 127.5]
    assert seen.size[0].tolist() == [40, 21]
    # An empty mask leaves the cell and the size.
    assert seen.shift[1].tolist() == [16, -16]
    assert seen.size[1].tolist() == [50, 40]


def test_two_branch_box_from_the_coarse_mask():
    chooser = Chooser(PLAIN)
    choice = chooser.choose(torch.zeros(1, 1, 25, 25), None, torch.tensor([[50.0, 40.0]]))
    seen = chooser.box_from_mask(choice, torch.ones(1, 63, 63))
    assert seen.size[0].tolist() == pytest.approx([127, 127])


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ((1, 2, 3), "four finite numbers"),
        ((1, 2, float("inf"), 3), "four finite numbers"),
        ((1, 2, 0, 3), "no area"),
        ((1, 2, 5, -3), "no area"),
        ((427, 10, 5, 5), "outside the 427x240 frame"),
        ((-10, 10, 10, 5), "outside"),
    ],
)
def test_unusable_init_boxes_are_named(box, message):
    with pytest.raises(ValueError, match=message):
        TrackState.from_box(box, 240, 427)


def test_state_and_box_round_trip():
    state = TrackState.from_box((295, 100, 50, 31), 240, 427)
    assert (state.centre_x, state.centre_y) == (320, 115.5)
    assert state.box.tolist() == [295, 100, 50, 31]


def test_a_free_window_has_no_middle_and_an_avoided_place_no_candidate():
    score, box = responses({(2, 0, 0): (3.0, 0, 0, 0, 0), (2, 12, 12): (1.0, 0, 0, 0, 0)})
    score, box, target = score.repeat(3, 1, 1, 1), box.repeat(3, 1, 1, 1), torch.tensor([[64.0, 64.0]] * 3)
    damped = Chooser(TrackerParams(penalty_k=0.0, window_influence=0.4, lr=1.0, mask_threshold=0.5))
    places = torch.zeros(3, 2, 4)
    places[1, 1] = torch.tensor([1.0, -1.0, 8.0, 8.0])  # the middle
    choice = damped.choose(score, box, target, torch.tensor([False, False, True]), places)
    assert choice.row.tolist() == [12, 0, 0]
    assert (choice.cells[1, 12, 12], choice.seen[1, 12, 12]) == (pytest.approx(0), choice.cells[0, 12, 12])
    assert choice.centres[:, 0, 3, 20].tolist() == [64.0, -72.0]
    single = torch.full((2, 1, 25, 25), -9.0)
    single[:, 0, 12, 12], single[:, 0, 2, 5] = 3.0, 2.0
    choice = damped.choose(single, None, target[:2], None, places[:2])
    assert choice.row.tolist() == [12, 2] and choice.column.tolist() == [12, 5]
