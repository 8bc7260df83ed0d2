"""Display matrices: every turn and mirror, as they are defined by where a point is shown."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from model.video.orientation import Orientation, orientation_of

MATRICES = {
    (1, 0, 0, 1): Orientation(0),
    (0, 1, -1, 0): Orientation(90),
    (-1, 0, 0, -1): Orientation(180),
    (0, -1, 1, 0): Orientation(270),
    (-1, 0, 0, 1): Orientation(0, mirrored=True),
    (1, 0, 0, -1): Orientation(180, mirrored=True),
    (0, 1, 1, 0): Orientation(90, mirrored=True),
    (0, -1, -1, 0): Orientation(270, mirrored=True),
}


def frame_with(a: float, b: float, c: float, d: float) -> Any:
    data = np.array([a * 65536, b * 65536, 0, c * 65536, d * 65536, 0, 0, 0, 1 << 30]).astype(np.int32)

    class Matrix(bytes):
        type = SimpleNamespace(name="DISPLAYMATRIX")

    return SimpleNamespace(side_data=[Matrix(data.tobytes())])


@pytest.mark.parametrize("matrix", MATRICES)
def test_every_point_is_shown_where_the_matrix_says(matrix: tuple[int, int, int, int]) -> None:
    a, b, c, d = matrix
    orientation = orientation_of(frame_with(*matrix))
    assert orientation == MATRICES[matrix]
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    upright = orientation.upright(picture)
    assert upright.flags.c_contiguous and upright.base is not picture
    ys, xs = np.mgrid[:5, :7]
    shown_x, shown_y = a * xs + c * ys, b * xs + d * ys
    expected = np.zeros_like(upright)
    expected[shown_y - shown_y.min(), shown_x - shown_x.min()] = picture
    np.testing.assert_array_equal(upright, expected)
    into = np.zeros_like(upright)
    assert orientation.upright(picture, into) is into
    np.testing.assert_array_equal(into, expected)


def test_a_slight_angle_goes_to_the_nearest_quarter_turn() -> None:
    angle = np.radians(80)
    matrix = (np.cos(angle), np.sin(angle), -np.sin(angle), np.cos(angle))
    assert orientation_of(frame_with(*matrix)) == Orientation(90)
    assert orientation_of(SimpleNamespace(side_data=[])) == Orientation()  # type: ignore[arg-type]
