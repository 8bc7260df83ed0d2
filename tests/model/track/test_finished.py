"""Objects of one frame together: who is lost, and that two at one place cannot both be right."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from model.engine import TrackOutput
from model.track.finished import FinishedObject, finish_objects, shared_presence
from model.track.object_tracker import ObjectAnswer
from model.tracker import PRESETS
from model.tracker.presence import LOST_BELOW


def answer(object_id: str, presence: float, x: float, score: float = 0.9) -> ObjectAnswer:
    """A disc of 20 pixels' radius about (x, 40)."""
    grid = np.mgrid[-63:64, -63:64]
    probability = (np.hypot(*grid) < 40).astype(np.float32)
    box = np.array([x - 20, 20.0, 40, 40])
    output = SimpleNamespace(box=box, mask_probability=probability, window=(x - 31.75, 8.25, 63.5, 63.5), threshold=0.5)
    return ObjectAnswer(object_id, 3, 0.1, score, presence, box, output)


def finished(*answers: ObjectAnswer, preset: str = "vot") -> dict[str, FinishedObject]:
    return {item.answer.object_id: item for item in finish_objects(answers, 80, 200, "mbr", PRESETS[preset])}


def test_alone_an_object_keeps_its_presence_and_is_lost_below_the_bound() -> None:
    sure, unsure = finished(answer("a", 0.9, 40))["a"], finished(answer("a", LOST_BELOW - 0.01, 40))["a"]
    assert (sure.presence, sure.state) == (0.9, "tracked")
    assert (unsure.presence, unsure.state) == (pytest.approx(LOST_BELOW - 0.01), "lost")
    assert sure.mask.area == pytest.approx(np.pi * 400, rel=0.05)


def test_objects_at_one_place_share_one_presence() -> None:
    found = finished(answer("a", 0.9, 40), answer("b", 0.6, 43), answer("c", 0.8, 75))
    assert found["a"].presence == pytest.approx(0.9 / 1.5) and found["b"].presence == pytest.approx(0.6 / 1.5)
    assert found["c"].presence == 0.8, "it touches the others' edge at most"
    lost = finished(answer("a", 0.99, 40), answer("b", 0.3, 40))
    assert (lost["a"].state, lost["b"].state) == ("tracked", "lost")


def test_what_starts_there_is_certain_and_doubtful_ones_are_left_alone() -> None:
    presence, overlap = np.array([1.0, 0.8, 0.5, 0.3]), np.eye(4)
    overlap[0, 1] = overlap[1, 0] = overlap[2, 3] = overlap[3, 2] = 0.9
    assert shared_presence(presence, overlap).tolist() == pytest.approx([1, 0.8 / 1.8, 0.5, 0.3])


def test_chosen_together_masks_at_one_place_are_divided_by_the_nearer_centre() -> None:
    def made(name: str, x: float, seen_at: float) -> ObjectAnswer:
        """An object about x whose mask is the disc about another place."""
        found = answer(name, 0.9, seen_at)
        box = np.array([x - 20, 20.0, 40, 40])
        output = TrackOutput(0.9, box, found.output.mask_probability, found.output.window, 0.5)
        return replace(found, box=box, output=output)

    pair = [made("a", 50, 60), made("b", 70, 60)]
    plain, joint = finished(*pair), finished(*pair, preset="robust")
    assert plain["a"].mask.area == plain["b"].mask.area and plain["a"].presence == 0.5
    assert plain["a"].bbox.tolist() == [30, 20, 40, 40]
    assert joint["a"].mask.area + joint["b"].mask.area == pytest.approx(plain["a"].mask.area, rel=0.02)
    assert joint["a"].presence == 0.9
    assert joint["a"].bbox == pytest.approx([40, 20, 20, 40], abs=2), "the mask's own box"
    apart = [made("a", 40, 40), made("b", 70, 70)]
    assert finished(*apart, preset="robust")["a"].mask.area == finished(*apart)["a"].mask.area


def test_a_lost_object_leaves_the_pixels_to_the_one_that_is_tracked() -> None:
    def made(name: str, is_searched: bool) -> ObjectAnswer:
        found = answer(name, 0.9, 60)
        output = TrackOutput(0.9, found.box, found.output.mask_probability, found.output.window, 0.5)
        return replace(found, output=output, is_searched=is_searched)

    pair = finished(made("a", False), made("b", True), preset="robust")
    assert pair["a"].mask.area == finished(answer("a", 0.9, 60))["a"].mask.area
    assert (pair["a"].presence, pair["a"].state) == (0.9, "tracked")
    assert (pair["b"].mask.area, pair["b"].presence, pair["b"].state) == (0, 0.5, "lost")
    both = finished(made("a", True), made("b", True), preset="robust")
    assert both["a"].mask.area > 0


def test_the_box_given_stays_and_an_empty_mask_has_the_trackers() -> None:
    given = replace(answer("a", 1.0, 40, 1.0), is_start=True)
    assert finished(given, preset="robust")["a"].bbox.tolist() == [20, 20, 40, 40]
    empty = answer("a", 0.9, 40)
    empty.output.mask_probability[:] = 0
    assert finished(empty, preset="robust")["a"].bbox.tolist() == [20, 20, 40, 40]


def test_an_object_that_is_searched_for_is_lost_however_sure_what_is_found_looks() -> None:
    item = finished(replace(answer("a", 0.9, 40), is_searched=True))["a"]
    assert (item.presence, item.state) == (0.9, "lost")
