"""Drawing on frames: exactly the mask's pixels, boxes where the corners are, labels inside the frame."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco

from model.video.overlay import PALETTE, OverlayStyle, TrackedObject, colour_of, draw_objects

ONLY_FILL = OverlayStyle(opacity=0.5, contour=False, box=False, label=False)


def tracked(mask: np.ndarray, *, object_id: str = "0", corners: tuple[float, ...] = (0,) * 8) -> TrackedObject:
    rle = coco.encode(np.asfortranarray(mask, dtype=np.uint8))
    return TrackedObject(object_id, 0.875, {"size": rle["size"], "counts": rle["counts"].decode()}, corners)


@given(arrays(bool, (17, 23)))
def test_fill_changes_the_mask_and_nothing_else(mask: np.ndarray) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (17, 23, 3), np.uint8)
    before = frame.copy()
    drawn = draw_objects(frame, [tracked(mask)], {"0": (255, 0, 101)}, ONLY_FILL)
    assert np.array_equal(drawn[~mask], frame[~mask])
    expected = np.rint(frame[mask] * 0.5 + np.array([255, 0, 101]) * 0.5)
    assert np.array_equal(drawn[mask], expected)
    assert np.array_equal(frame, before)


def test_what_is_lost_is_dashed_and_not_filled() -> None:
    mask = np.zeros((120, 160), bool)
    mask[20:100, 30:130] = True
    item = replace(tracked(mask, corners=(30.0, 20.0, 129.0, 20.0, 129.0, 99.0, 30.0, 99.0)), state="lost")
    style = OverlayStyle(opacity=0.5, contour=True, box=False, label=False)
    for chosen in (style, replace(style, contour=False, box=True)):
        drawn = draw_objects(np.zeros((120, 160, 3), np.uint8), [item], {"0": (255, 255, 255)}, chosen)
        assert not drawn[30:90, 40:120].any()
        along = drawn[20, 30:130, 0] > 128
        assert 0.3 < along.mean() < 0.8 and np.count_nonzero(np.diff(along.astype(int))) > 8


def test_contour_outlines_the_mask() -> None:
    mask = np.zeros((60, 80), bool)
    mask[20:40, 30:50] = True
    style = OverlayStyle(opacity=0, contour=True, box=False, label=False)
    drawn = draw_objects(np.zeros((60, 80, 3), np.uint8), [tracked(mask)], {"0": (255, 255, 255)}, style)
    assert (drawn[20, 30:50] > 0).all() and (drawn[39, 30:50] > 0).all()
    assert (drawn[20:40, 30] > 0).all() and (drawn[20:40, 49] > 0).all()
    assert not drawn[25:35, 35:45].any() and not drawn[:15].any()


def test_box_follows_the_corners() -> None:
    empty = np.zeros((200, 300), bool)
    corners = (150.0, 40.0, 220.0, 110.0, 150.0, 180.0, 80.0, 110.0)
    style = OverlayStyle(opacity=0, contour=False, box=True, label=False)
    drawn = draw_objects(np.zeros((200, 300, 3), np.uint8), [tracked(empty, corners=corners)], {"0": PALETTE[0]}, style)
    for x, y in ((185, 75), (185, 145), (115, 145), (115, 75)):
        assert tuple(drawn[y, x]) == PALETTE[0], "the middle of a side has the object's colour"
    assert not drawn[110, 150].any()


@pytest.mark.parametrize("corner", [(0.0, 0.0), (319.0, 0.0), (319.0, 239.0), (-40.0, -40.0), (400.0, 300.0)])
def test_label_stays_inside(corner: tuple[float, float]) -> None:
    frame = np.zeros((240, 320, 3), np.uint8)
    style = OverlayStyle(opacity=0, contour=False, box=False, label=True)
    item = tracked(np.zeros((240, 320), bool), corners=corner * 4)
    far = tracked(np.zeros((240, 320), bool), corners=(160.0, 120.0) * 4)
    drawn = draw_objects(frame, [item], {"0": (255, 255, 255)}, style)
    whole = draw_objects(frame, [far], {"0": (255, 255, 255)}, style)
    assert drawn.sum(dtype=np.int64) == whole.sum(dtype=np.int64) > 10_000, "a part of the label is cut off"


def test_wrong_video_is_named() -> None:
    item = tracked(np.zeros((10, 12), bool), object_id="fish")
    with pytest.raises(ValueError, match=r"object fish.*\[10, 12\].*\[20, 24\]"):
        draw_objects(np.zeros((20, 24, 3), np.uint8), [item], {"fish": PALETTE[0]})


# How colours look without one kind of cone, in linear RGB (Machado, Oliveira and Fernandes 2009, severity 1).
SIGHT = {
    "three kinds of cones": np.eye(3),
    "no red cones": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "no green cones": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "no blue cones": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}


def lab(colours: np.ndarray, sight: np.ndarray) -> np.ndarray:
    """CIELAB of sRGB colours, [n, 3], as they are seen."""
    share = colours / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ sight.T, 0, 1).astype(np.float32)
    encoded = np.where(seen <= 0.0031308, seen * 12.92, 1.055 * seen ** (1 / 2.4) - 0.055).astype(np.float32)
    return cv2.cvtColor(encoded[None], cv2.COLOR_RGB2Lab)[0]


@pytest.mark.parametrize("sight", SIGHT)
def test_sixteen_objects_are_told_apart_by_all_eyes(sight: str) -> None:
    colours = lab(np.array([colour_of(i) for i in range(16)], float), SIGHT[sight])
    distance = np.linalg.norm(colours[:, None] - colours[None], axis=2) + np.eye(16) * 100
    assert distance.min() > 15, np.unravel_index(distance.argmin(), distance.shape)
    assert colour_of(16) == colour_of(0)


@pytest.mark.parametrize("position", range(16))
def test_labels_can_be_read_on_every_colour(position: int) -> None:
    style = OverlayStyle(opacity=0, contour=False, box=False, label=True)
    item = tracked(np.zeros((120, 160), bool), corners=(80.0, 60.0) * 4)
    drawn = draw_objects(np.zeros((120, 160, 3), np.uint8), [item], {"0": colour_of(position)}, style)
    plate = drawn[drawn.any(axis=2)].astype(float)
    lightness = lab(plate, np.eye(3))[:, 0]
    assert lightness.max() - lightness.min() > 35


@given(st.integers(1, 3))
def test_frames_that_are_views_are_drawn_the_same(step: int) -> None:
    frame = np.random.default_rng(1).integers(0, 256, (24, 32, 3), np.uint8)
    mask = np.zeros((24, 32), bool)
    mask[4:9, 5:20] = True
    view = np.repeat(frame, step, axis=1)[:, ::step]
    drawn = draw_objects(view, [tracked(mask)], {"0": PALETTE[1]})
    assert np.array_equal(drawn, draw_objects(frame, [tracked(mask)], {"0": PALETTE[1]}))
