"""The trial clips: the object is out of sight as long as the clip's name says; what is not tracked has no mask."""

from __future__ import annotations

from itertools import islice

import numpy as np

from pipeline.demo.scenes import draw
from pipeline.demo.trials import EXITS, OCCLUSIONS, trials


def test_every_trouble_has_every_length_and_a_name_of_its_own() -> None:
    scenes = list(trials())
    names = [scene.clip_id for scene in scenes]
    assert len(set(names)) == len(names) == 2 * len(OCCLUSIONS) + len(EXITS) + 4
    tracked = {scene.clip_id: [a.object_id for a in scene.actors if a.is_tracked] for scene in scenes}
    assert tracked["v0-twins-1"] == ["left", "right"]
    assert not {scene.clip_id for scene in trials([1])} & set(names)
    assert all(ids == ["target"] for name, ids in tracked.items() if "twins" not in name)


def test_an_object_that_passes_behind_a_board_is_hidden_once_and_comes_out() -> None:
    scene = next(scene for scene in trials() if scene.clip_id == "v0-lookalike-010")
    frames = list(draw(scene))
    areas = np.array([frame.masks["target"].sum() for frame in frames])
    assert all(list(frame.masks) == ["target"] for frame in frames), "the decoy and the board are not tracked"
    hidden = np.flatnonzero(areas == 0)
    assert 10 <= len(hidden) <= 20 and (np.diff(hidden) == 1).all()
    assert areas[0] > 0.99 * areas[:20].max() > 2000 and areas[-1] > 0.8 * areas[0]


def test_twins_start_apart_and_whole() -> None:
    scene = next(scene for scene in trials() if scene.clip_id == "v0-twins-0")
    (first,) = islice(draw(scene), 1)
    left, right = first.masks["left"], first.masks["right"]
    assert left.sum() > 2000 < right.sum() and not (left & right).any()
