"""Lost objects and objects that are chosen together, on the engine: what it computes of what a track asks for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model.engine import Engine
from model.engine.track import Crop, is_on_another, mask_window
from model.tracker import PRESETS, TrackState
from model.tracker.crop import search_window
from model.tracker.presence import CUES, LOST_BELOW, PresenceFit
from model.tracker.recovery import PATIENCE, SearchPlace
from model.tracker.rivals import Others
from tests.model.engine.tracks import BOXES, FRAME, same

PARAMS = replace(PRESETS["vot"], recovery=True, joint=True)


def always(logit: float) -> PresenceFit:
    """A fit that says the same of every frame."""
    return PresenceFit((0.0,) * len(CUES), (1.0,) * len(CUES), (0.0,) * len(CUES), logit)


def test_a_track_that_is_never_lost_is_the_published_one(model, frames, wanted):
    with Engine(model, PARAMS, presence=always(5.0)) as engine:
        for box, path in zip(BOXES[:3], wanted, strict=False):
            track, first = engine.init(frames[0], box).result()
            outputs = [first, *(engine.step(track, frame).result() for frame in frames[1:])]
            # What looks like the object elsewhere is a rival after three frames, which this clip does not have.
            same(outputs, path)


def test_a_lost_track_has_two_windows_in_one_batch_and_little_presence(model, frames):
    with Engine(model, PARAMS, presence=always(-3.0), max_tracks=1) as engine:
        track, _ = engine.init(frames[0], BOXES[0]).result()
        for _ in range(PATIENCE):
            engine.step(track, frames[1]).result()
        assert engine.stats().tracks == engine.stats().steps == PATIENCE + 1
        place = track.recovery.place
        for turn in range(3):
            output = engine.step(track, frames[1]).result()
            assert output.is_searched and output.presence < LOST_BELOW and np.isfinite(output.mask_probability).all()
            assert track.recovery.is_lost and track.recovery.place == place
            assert engine.stats().steps == PATIENCE + 2 + turn


def test_the_odds_of_rows_decide_nothing(model, frames):
    with Engine(model, PARAMS, presence=replace(always(-1.2), odds=2.0)) as engine:
        track, _ = engine.init(frames[0], BOXES[0]).result()
        outputs = [engine.step(track, frames[1]).result() for _ in range(PATIENCE)]
    assert [output.presence for output in outputs] == pytest.approx([2 / (2 + np.exp(1.2))] * PATIENCE)
    assert outputs[0].presence > LOST_BELOW and track.recovery.is_lost


def test_what_is_found_again_goes_on_from_there(model, frames):
    with Engine(model, PARAMS, presence=always(-3.0)) as lost:
        track, _ = lost.init(frames[0], BOXES[0]).result()
        for _ in range(PATIENCE + 1):
            lost.step(track, frames[1]).result()
    with Engine(model, PARAMS, presence=always(3.0)) as sure:
        found = sure.step(track, frames[1]).result()
        assert found.is_searched and found.presence > 0.9, "until a second look agrees"
        again = sure.step(track, frames[1]).result()
    assert again.presence > 0.9 and not again.is_searched and not track.recovery.is_lost
    assert np.allclose(again.box, track.state.box)


def test_a_step_taken_back_and_made_again_is_the_same_step(model, frames, wanted):
    # One that ends inside of the frame, to which centres are held.
    middles = [path[1].box[:2] + path[1].box[2:] / 2 for path in wanted]
    chosen = next(i for i, (x, y) in enumerate(middles) if 0 < x < FRAME[1] and 0 < y < FRAME[0])
    with Engine(model, PARAMS, presence=always(5.0)) as engine:
        track, _ = engine.init(frames[0], BOXES[chosen]).result()
        once = engine.step(track, frames[1]).result()
        same([engine.step(track, frames[1], again=True).result()], [once])
        x, y, width, height = once.box
        elsewhere = engine.step(
            track, frames[1], Others(taken=[(x + width / 2, y + height / 2, width, height)], is_near=True), again=True
        ).result()
        moved = np.abs(elsewhere.box[:2] + elsewhere.box[2:] / 2 - (x + width / 2, y + height / 2))
        assert (moved >= np.array([width, height]) / 2 - 1e-3).any(), "its centre is not in the place taken"
        assert elsewhere.box[2:].tolist() == pytest.approx(BOXES[chosen][2:]), "near others it keeps its size"


def test_without_joint_choice_no_step_is_taken_back(model, frames):
    with Engine(model, PRESETS["vot"]) as engine:
        track, _ = engine.init(frames[0], BOXES[0]).result()
        engine.step(track, frames[1]).result()
        with pytest.raises(RuntimeError, match="joint choice"):
            engine.step(track, frames[1], again=True).result()


def test_a_find_whose_mask_lies_on_a_rival_is_none(frames):
    """Its candidate's box is beside the rival's place, which only boxes avoid."""
    state = TrackState(80.0, 60.0, 30.0, 20.0)
    window = search_window(80.0, 60.0, 30.0, 20.0, PARAMS.context)
    mask = np.zeros((127, 127), np.float32)
    mask[40:60, 90:110] = 0.9
    x, y, width, height = mask_window(window, 12, 12)
    middle = (x + 100 * width / 127, y + 50 * height / 127)

    def is_found_on(*avoid: tuple[float, float, float, float]) -> bool:
        return is_on_another(Crop(SearchPlace(state, avoid=avoid), window, frames[0]), 12, 12, mask, 0.5)

    assert is_found_on((500.0, 500.0, 30.0, 20.0), (*middle, 4.0, 4.0))
    assert not is_found_on() and not is_found_on((middle[0] + 5, middle[1], 8.0, 8.0))
    mask[:] = 0
    assert not is_found_on((*middle, 400.0, 400.0)), "an empty mask is nowhere"


def test_a_lost_track_does_not_take_up_what_is_on_a_rival(model, frames, monkeypatch):
    monkeypatch.setattr("model.engine.runner.is_on_another", lambda *_: True)
    with Engine(model, PARAMS, presence=always(-3.0)) as lost:
        track, _ = lost.init(frames[0], BOXES[0]).result()
        for _ in range(PATIENCE):
            lost.step(track, frames[1]).result()
    with Engine(model, PARAMS, presence=always(3.0)) as sure:
        for _ in range(3):
            assert sure.step(track, frames[1]).result().presence < LOST_BELOW and track.recovery.is_lost
