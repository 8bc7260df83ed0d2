"""Affine crops about an object, equal to the tracker's windows when nothing is augmented.

Coordinates are continuous: a picture W pixels wide spans 0 to W and its first pixel's centre lies at 0.5. A matrix
is float64 [2, 3] and maps picture coordinates to crop coordinates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from model.tracker.crop import TEMPLATE_SIZE, context_side

# The published crop rounds the corner of its window half a pixel high (`round(centre - (side + 1) / 2)`).
# Pictures are cut with that offset; masks and boxes, which the tracker places by the ideal window, without.
CORNER_OFFSET = 0.5


@dataclass(frozen=True, slots=True)
class View:
    """How a crop departs from the centred one: in crop pixels, as factors, in degrees.

    `zoom` enlarges the object, `stretch` widens it and lowers it by the same factor, `flip` mirrors the crop.
    """

    shift_x: float = 0.0
    shift_y: float = 0.0
    zoom: float = 1.0
    stretch: float = 1.0
    angle: float = 0.0
    flip: bool = False


def crop_matrix(box: np.ndarray, size: int, view: View | None = None) -> np.ndarray:
    """The matrix that cuts a crop of `size` pixels about a box (x, y, w, h).

    The square with context 0.5 (w + h) about the box covers 127 crop pixels, as in the tracker.
    """
    view = view or View()
    x, y, width, height = (float(value) for value in box)
    scale = TEMPLATE_SIZE / context_side(width, height) * view.zoom
    cosine, sine = math.cos(math.radians(view.angle)), math.sin(math.radians(view.angle))
    linear = scale * np.array([[cosine, -sine], [sine, cosine]])
    linear = np.diag([view.stretch * (-1 if view.flip else 1), 1 / view.stretch]) @ linear
    centre = np.array([x + width / 2, y + height / 2])
    place = np.array([size / 2 + view.shift_x, size / 2 + view.shift_y])
    return np.column_stack([linear, place - linear @ centre])


def translate_source(matrix: np.ndarray, dx: float, dy: float) -> np.ndarray:
    """The matrix for a source whose origin lies at (dx, dy) of the picture that `matrix` is for."""
    moved = matrix.copy()
    moved[:, 2] += matrix[:, :2] @ np.array([dx, dy])
    return moved


def transform_box(matrix: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The axis-aligned box x1, y1, x2, y2, float64 [4], about a box (x, y, w, h) after `matrix`."""
    x, y, width, height = box
    corners = np.array([[x, y], [x + width, y], [x, y + height], [x + width, y + height]])
    moved = corners @ matrix[:, :2].T + matrix[:, 2]
    return np.concatenate([moved.min(axis=0), moved.max(axis=0)])


def warp_picture(
    picture: np.ndarray,
    matrix: np.ndarray,
    size: int,
    border: tuple[float, float, float] | None,
    under: np.ndarray | None = None,
) -> np.ndarray:
    """Cut uint8 [size, size, 3] out of a picture.

    Outside the picture lies `under` (uint8 [size, size, 3], written over) where given, else the colour `border`,
    else the picture's edge, repeated.
    """
    centred = translate_source(matrix, CORNER_OFFSET, CORNER_OFFSET)
    if under is not None:
        return cv2.warpAffine(
            picture,
            _pixel_matrix(centred),
            (size, size),
            dst=under,
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_TRANSPARENT,
        )
    mode = cv2.BORDER_REPLICATE if border is None else cv2.BORDER_CONSTANT
    colour = (0.0, 0.0, 0.0) if border is None else tuple(float(int(level)) for level in border)
    return cv2.warpAffine(
        picture, _pixel_matrix(centred), (size, size), flags=cv2.INTER_LINEAR, borderMode=mode, borderValue=colour
    )


def warp_mask(mask: np.ndarray, box: np.ndarray, matrix: np.ndarray, size: int, margin: int = 0) -> np.ndarray:
    """Cut a mask stored over its box: coverage uint8 0..255, [size + 2 margin] squared.

    `margin` crop pixels are added on every side, so that what leaves the crop can still be measured.
    """
    moved = translate_source(matrix, float(box[0]), float(box[1]))
    moved[:, 2] += margin
    side = size + 2 * margin
    return cv2.warpAffine(mask * np.uint8(255), _pixel_matrix(moved), (side, side), flags=cv2.INTER_LINEAR)


def _pixel_matrix(matrix: np.ndarray) -> np.ndarray:
    """The same map between pixel indices, whose centres lie at half coordinates."""
    pixels = matrix.copy()
    pixels[:, 2] += matrix[:, :2].sum(axis=1) * 0.5 - 0.5
    return pixels
