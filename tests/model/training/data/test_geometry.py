"""Training crops against the tracker's own windows, and the geometry of their augmentation."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from model.tracker.crop import SEARCH_SIZE, TEMPLATE_SIZE, crop, search_window, template_side
from model.training.data.geometry import View, crop_matrix, transform_box, warp_mask, warp_picture


def smooth_picture(height: int = 240, width: int = 320, seed: int = 3) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3)).astype(np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize("size", [TEMPLATE_SIZE, SEARCH_SIZE])
def test_without_augmentation_a_crop_is_the_trackers_window(size: int) -> None:
    # The tracker rounds corner and side of its window to whole pixels: single crops differ by up to a pixel
    # of the picture, but on average there is no shift.
    picture = smooth_picture()
    rng = np.random.default_rng(0)
    shifts = []
    for _ in range(60):
        x, y, width, height = rng.uniform([100, 80, 25, 25], [180, 120, 60, 60])
        centre = x + width / 2, y + height / 2
        window = search_window(*centre, width, height)
        side = template_side(width, height) if size == TEMPLATE_SIZE else window.side
        wanted = crop(picture, *centre, side, size, np.zeros(3))[..., 1]
        found = warp_picture(picture, crop_matrix(np.array([x, y, width, height]), size), size, (0.0, 0.0, 0.0))
        hanning = cv2.createHanningWindow((size, size), cv2.CV_64F)
        shift, _ = cv2.phaseCorrelate(wanted.astype(float), found[..., 1].astype(float), hanning)
        shifts.append(np.array(shift) * side / size)
    assert np.abs(shifts).max() < 1.0
    assert np.abs(np.mean(shifts, axis=0)).max() < 0.12


def test_the_context_square_of_the_box_fills_the_template() -> None:
    box = np.array([100.0, 80.0, 60.0, 40.0])
    matrix = crop_matrix(box, TEMPLATE_SIZE)
    side = np.sqrt((60 + 50) * (40 + 50))
    square = np.array([130 - side / 2, 100 - side / 2, side, side])
    assert transform_box(matrix, square) == pytest.approx([0, 0, TEMPLATE_SIZE, TEMPLATE_SIZE])


def test_a_view_moves_scales_and_mirrors_the_object() -> None:
    box = np.array([100.0, 80.0, 60.0, 40.0])
    plain = transform_box(crop_matrix(box, SEARCH_SIZE), box)
    moved = transform_box(crop_matrix(box, SEARCH_SIZE, View(shift_x=30, shift_y=-12, zoom=1.5, flip=True)), box)
    assert (plain[:2] + plain[2:]) / 2 == pytest.approx([127.5, 127.5])
    assert (moved[:2] + moved[2:]) / 2 == pytest.approx([157.5, 115.5])
    assert moved[2:] - moved[:2] == pytest.approx(1.5 * (plain[2:] - plain[:2]))
    flipped = crop_matrix(box, SEARCH_SIZE, View(flip=True))
    right_end = flipped[:, :2] @ np.array([160.0, 100.0]) + flipped[:, 2]
    assert right_end[0] == pytest.approx(plain[0])


def test_a_mask_lands_where_its_box_does() -> None:
    box = np.array([90.0, 60.0, 70.0, 50.0])
    mask = np.ones((50, 70), np.uint8)
    for view in (View(), View(shift_x=-40.5, shift_y=20.25, zoom=0.9), View(flip=True, zoom=1.1, stretch=1.2)):
        matrix = crop_matrix(box, SEARCH_SIZE, view)
        coverage = warp_mask(mask, box, matrix, SEARCH_SIZE)
        x, y, width, height = cv2.boundingRect((coverage >= 128).astype(np.uint8))
        assert np.array([x, y, x + width, y + height]) == pytest.approx(transform_box(matrix, box), abs=0.51)


def test_a_margin_shows_what_leaves_the_crop() -> None:
    box = np.array([90.0, 60.0, 70.0, 50.0])
    matrix = crop_matrix(box, SEARCH_SIZE, View(shift_x=110))
    wide = warp_mask(np.ones((50, 70), np.uint8), box, matrix, SEARCH_SIZE, margin=64)
    assert wide.shape == (SEARCH_SIZE + 128,) * 2
    _, _, width, _ = cv2.boundingRect((wide >= 128).astype(np.uint8))
    whole = transform_box(matrix, box)
    assert width == pytest.approx(whole[2] - whole[0], abs=1)
    assert np.array_equal(wide[64:-64, 64:-64], warp_mask(np.ones((50, 70), np.uint8), box, matrix, SEARCH_SIZE))


def test_an_object_keeps_its_colour_and_place_under_a_turn() -> None:
    picture = np.zeros((200, 200, 3), np.uint8)
    picture[90:110, 60:140] = (0, 255, 0)
    box = np.array([60.0, 90.0, 80.0, 20.0])
    matrix = crop_matrix(box, SEARCH_SIZE, View(angle=90))
    shown = warp_picture(picture, matrix, SEARCH_SIZE, (0.0, 0.0, 0.0))[..., 1] > 128
    coverage = warp_mask(np.ones((20, 80), np.uint8), box, matrix, SEARCH_SIZE) > 128
    _, _, width, height = cv2.boundingRect(coverage.astype(np.uint8))
    assert height == pytest.approx(4 * width, rel=0.05)
    assert np.count_nonzero(shown ^ coverage) < 0.05 * np.count_nonzero(coverage)
