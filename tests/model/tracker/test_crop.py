"""Crops: the published pixels, whatever the frame's layout, size and the window's place."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from model.tracker import crop as crops


def frame_of(height: int, width: int) -> np.ndarray:
    smooth = np.random.default_rng(0).integers(0, 255, (height // 8 + 2, width // 8 + 2, 3)).astype(np.uint8)
    return cv2.resize(smooth, (width, height), interpolation=cv2.INTER_CUBIC)


def padded_reference(frame, x, y, side, size, fill):
    """The published way: pad the whole frame, cut, resize."""
    pad = side + max(frame.shape)
    wide = np.empty((frame.shape[0] + 2 * pad, frame.shape[1] + 2 * pad, 3), np.uint8)
    wide[:] = np.asarray(fill).astype(np.uint8)
    wide[pad : pad + frame.shape[0], pad : pad + frame.shape[1]] = frame
    left, top = round(x - (side + 1) / 2) + pad, round(y - (side + 1) / 2) + pad
    return cv2.resize(wide[top : top + side, left : left + side], (size, size))


def test_crops_are_the_published_ones(shared):
    golden = np.load(shared / "golden/crops.npz")
    frame = cv2.imread(str(shared / f"golden/frames/{int(golden['frame']):05d}.png"))
    for (x, y), side, wanted in zip(
        golden["positions"], golden["original_sizes"], golden["crops"], strict=True
    ):
        made = crops.crop(frame, x, y, int(side), 255, golden["avg_color"])
        assert np.abs(made.astype(int) - wanted).max() <= 1


@pytest.mark.parametrize(
    ("x", "y", "side"),
    [
        (60, 40, 30),
        (60, 40, 255),
        (2.5, 3.5, 80),
        (119, 79, 127),
        (60, 40, 300),
        (60, 40, 1500),
        (10, 70, 1201),
        (60, 40, 1),
    ],
)
def test_window_equals_cutting_a_padded_frame(x, y, side):
    frame, fill = frame_of(80, 120), np.array([10.9, 20.2, 250.7])
    made = crops.crop(frame, x, y, side, 255, fill)
    assert made.shape == (255, 255, 3)
    assert np.abs(made.astype(int) - padded_reference(frame, x, y, side, 255, fill)).max() <= 1


@pytest.mark.parametrize("side", [40, 90, 255, 1500])
def test_reversed_and_strided_frames_give_the_same_pixels(side):
    bgr, fill = frame_of(80, 120), np.array([10, 20, 250])
    wanted = crops.crop(bgr, 30, 20, side, 255, fill)
    rgb = np.ascontiguousarray(bgr[..., ::-1])
    inside = np.pad(bgr, ((5, 5), (9, 9), (0, 0)))[5:-5, 9:-9]
    for view in (rgb[..., ::-1], inside, np.asfortranarray(bgr), bgr[::-1].copy()[::-1]):
        assert np.array_equal(crops.crop(view, 30, 20, side, 255, fill), wanted)


def test_result_does_not_alias_the_frame():
    frame = frame_of(300, 300)
    made = crops.crop(frame, 150, 150, 255, 255, np.zeros(3))
    before = made.copy()
    frame[:] = 0
    assert np.array_equal(made, before)


def test_mean_colour_follows_the_channel_order():
    frame = frame_of(50, 70)
    assert np.allclose(crops.mean_colour(frame), frame.mean((0, 1)))
    assert np.allclose(crops.mean_colour(frame[..., ::-1]), frame.mean((0, 1))[::-1])


def test_search_window_of_a_target():
    # 50x31: margin 40.5, s_z = sqrt(90.5 * 71.5) = 80.44; 128 search pixels more at 127 / s_z.
    assert crops.template_side(50, 31) == 80
    window = crops.search_window(320, 115.5, 50, 31)
    assert window.side == 162
    assert (window.x, window.y) == (320 - 81, 115.5 - 81)
    assert window.scale == pytest.approx(127 / 80.4403, rel=1e-5)


@pytest.mark.parametrize(
    ("frame", "x", "side"),
    [
        (np.zeros((5, 5), np.uint8), 2, 3),
        (np.zeros((5, 5, 3), np.float32), 2, 3),
        (np.zeros((5, 5, 3), np.uint8), float("nan"), 3),
        (np.zeros((5, 5, 3), np.uint8), 2, 0),
        (np.zeros((0, 5, 3), np.uint8), 2, 3),
    ],
)
def test_unusable_frames_and_windows_are_refused(frame, x, side):
    with pytest.raises(ValueError, match=r"frame must be uint8|cannot cut"):
        crops.crop(frame, x, 2, side, 255, np.zeros(3))
