"""Labels of anchors, cells and mask windows against hand-computed ones."""

from __future__ import annotations

import math

import numpy as np
import pytest

from model.network.anchors import anchors
from model.training.data.labels import (
    LabelRules,
    box_offsets,
    choose_cells,
    label_anchors,
    label_cells,
    mask_windows,
    overlaps,
    shrink_windows,
)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_overlaps_by_hand() -> None:
    boxes = np.array([[0.0, 0, 10, 10], [5, 0, 10, 10], [0, 0, 20, 5], [100, 0, 10, 10]])
    found = overlaps(boxes, np.array([0.0, 0, 10, 10]))
    assert found == pytest.approx([1.0, 50 / 150, 50 / 150, 0.0])


def test_anchor_labels_follow_the_overlaps() -> None:
    grid = anchors()
    box = np.array([9.0, -20.0, 70.0, 60.0])
    overlap = overlaps(grid, box)
    everything = LabelRules(positives=10_000, total=100_000)
    classes = label_anchors(grid, box, rng(), everything)
    assert np.array_equal(classes == 1, overlap > 0.6)
    assert np.array_equal(classes == 0, overlap < 0.3)
    assert (classes == 1).any()


def test_positives_and_all_labels_are_limited() -> None:
    grid = anchors()
    box = np.array([0.0, 0.0, 64.0, 64.0])
    # 64x64 anchors shifted by up to 8 px in each direction overlap by at least 0.62: nine of them.
    assert np.count_nonzero(label_anchors(grid, box, rng()) == 1) == 9
    assert np.count_nonzero(label_anchors(grid, box, rng()) == 0) == 64 - 9
    few = label_anchors(grid, box, rng(), LabelRules(positives=4, total=20))
    assert np.count_nonzero(few == 1) == 4
    assert np.count_nonzero(few == 0) == 16
    nothing = label_anchors(grid, np.array([0.0, 0.0, 2.0, 250.0]), rng())
    assert np.count_nonzero(nothing == 1) == 0
    assert np.count_nonzero(nothing == 0) == 64


def test_the_best_anchor_is_the_centre_one_of_its_shape() -> None:
    grid = anchors()
    box = np.array([16.0, -8.0, 64.0, 64.0])
    k, row, column = np.unravel_index(overlaps(grid, box).argmax(), grid.shape[:3])
    assert (k, row, column) == (2, 11, 14)
    offsets = box_offsets(grid, box)
    assert offsets.shape == (4, 5, 25, 25)
    assert offsets[:, k, row, column] == pytest.approx([0, 0, 0, 0])
    # The anchor one cell to the left is 8 px off, an eighth of its width.
    assert offsets[:, k, row, column - 1] == pytest.approx([8 / 64, 0, 0, 0])
    width, height = grid[0, row, column, 2:]
    assert offsets[2:, 0, row, column] == pytest.approx([math.log(64 / width), math.log(64 / height)])


def test_cells_of_two_branches_are_positive_near_the_centre() -> None:
    classes = label_cells(np.array([8.0, 0.0, 40.0, 40.0]), rng())
    positive = np.argwhere(classes[0] == 1)
    assert classes.shape == (1, 25, 25)
    # Radius 16 px is two cells: 13 cells about (12, 13).
    assert len(positive) == 13
    assert positive.mean(axis=0) == pytest.approx([12, 13])


def test_chosen_cells_have_a_positive_anchor() -> None:
    classes = np.full((5, 25, 25), -1, np.int8)
    classes[3, 4, 5] = classes[1, 4, 5] = classes[0, 20, 7] = 1
    classes[2, 9, 9] = 0
    assert sorted(map(tuple, choose_cells(classes, 8, rng()))) == [(4, 5), (20, 7)]
    assert len(choose_cells(classes, 1, rng())) == 1


def test_mask_windows_start_at_their_cell_and_end_at_the_crop() -> None:
    mask = np.zeros((255, 255), np.uint8)
    mask[64:191, 64:191] = 1
    mask[0, 0] = 1
    mask[10, 94] = 1
    centre, corner = mask_windows(mask, np.array([[12, 12], [0, 0]]))
    assert centre.shape == (127, 127)
    assert centre.all()
    # Cell (0, 0) starts 32 px above and left of the crop; the crop's first pixel is its pixel (32, 32).
    assert corner[32, 32] == 1
    assert corner[:32].sum() == 0
    assert corner[42, 126] == 1
    assert corner[:90].sum() == 2
    moved = mask_windows(mask, np.array([[12, 14]]))[0]
    assert moved[:, : 127 - 16].all()
    assert moved[:, 127 - 16 :].sum() == 0


def test_windows_shrink_by_majority() -> None:
    window = np.zeros((1, 127, 127), np.uint8)
    window[0, :, :64] = 1
    small = shrink_windows(window)
    assert small.shape == (1, 63, 63)
    assert small[0, :, :31].all()
    assert small[0, :, 32:].sum() == 0
