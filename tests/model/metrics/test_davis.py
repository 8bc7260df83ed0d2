"""J and F of DAVIS against values worked out by hand and with the benchmark's own code."""

from __future__ import annotations

import numpy as np
import pytest

from model.metrics import boundary_f, judged_frames, mask_boundary, region_j, statistics


def square(left: int, top: int = 30, side: int = 40, size: int = 100) -> np.ndarray:
    mask = np.zeros((size, size), np.uint8)
    mask[top : top + side, left : left + side] = 1
    return mask


@pytest.mark.parametrize(("moved", "j", "f"), [(0, 1.0, 1.0), (3, 0.86047, 0.525), (10, 0.6, 0.4375)])
def test_a_moved_square_scores_as_in_the_benchmark(moved: int, j: float, f: float) -> None:
    assert region_j(square(30 + moved), square(30)) == pytest.approx(j, abs=5e-6)
    assert boundary_f(square(30 + moved), square(30)) == pytest.approx(f, abs=5e-6)


def test_both_measures_do_not_depend_on_the_order() -> None:
    first, second = square(30), square(35, top=22, side=31)
    assert region_j(first, second) == region_j(second, first)
    assert boundary_f(first, second) == pytest.approx(boundary_f(second, first))


def test_empty_masks() -> None:
    empty = np.zeros((100, 100), np.uint8)
    assert region_j(empty, empty) == 1.0
    assert boundary_f(empty, empty) == 1.0
    assert region_j(empty, square(30)) == 0.0
    assert boundary_f(empty, square(30)) == 0.0
    assert boundary_f(square(30), empty) == 0.0


def test_boundary_of_a_square_is_one_pixel_thick() -> None:
    boundary = mask_boundary(square(30))
    # Two sides lie on the pixels before the square, two on its last pixels: a ring of side 41.
    assert np.count_nonzero(boundary) == 4 * 40
    assert boundary[29, 29]
    assert not boundary[70, 70]


def test_boundary_of_a_mask_that_fills_the_picture_is_empty() -> None:
    assert not mask_boundary(np.ones((8, 9), np.uint8)).any()


def test_a_wider_bound_forgives_more() -> None:
    assert boundary_f(square(33), square(30), bound=3) == 1.0
    assert boundary_f(square(33), square(30), bound=1) < boundary_f(square(33), square(30), bound=2) < 1.0


def test_masks_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\[100, 100\].*\[50, 50\]"):
        region_j(square(30), np.zeros((50, 50)))


def test_first_and_last_frame_are_not_judged() -> None:
    assert list(judged_frames(5)) == [1, 2, 3]
    assert list(judged_frames(2)) == []


def test_statistics() -> None:
    values = [1.0] * 4 + [0.8] * 4 + [0.6] * 4 + [0.4] * 4
    found = statistics(values)
    assert found.mean == pytest.approx(0.7)
    assert found.recall == pytest.approx(12 / 16)
    # Bins share their edges: the first is frames 0 to 4, the last 11 to 15.
    assert found.decay == pytest.approx((4 * 1.0 + 0.8) / 5 - (0.6 + 4 * 0.4) / 5)
    with pytest.raises(ValueError, match="no frame"):
        statistics([])


def test_decay_of_more_than_256_frames() -> None:
    # The bins' edges are frames 0, 75, 150, 224 and 299; trackeval keeps them in eight bits, and has no value.
    values = [0.9] * 76 + [0.5] * 148 + [0.2] * 76
    assert statistics(values).decay == pytest.approx(0.7)
