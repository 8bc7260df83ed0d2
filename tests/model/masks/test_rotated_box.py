"""Rotated boxes: one form, four rules from a mask, and boxes that start a track."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from model.masks import rle
from model.masks import rotated_box as boxes
from model.masks.best_overlap import overlap
from model.masks.init_box import box_from_polygon, box_from_rle

side = st.floats(0.5, 300)
place = st.floats(-500, 4000)


def corners_of(cx, cy, w, h, angle):
    along = np.array([math.cos(math.radians(angle)), math.sin(math.radians(angle))])
    across = np.array([-along[1], along[0]])
    return (
        np.array([cx, cy])
        + np.array([-along * w - across * h, along * w - across * h, along * w + across * h, across * h - along * w])
        / 2
    )


def row(box):
    return [box.cx, box.cy, box.w, box.h, box.angle]


@settings(deadline=None)
@given(place, place, side, side, st.floats(-400, 400))
def test_every_box_has_one_form(cx, cy, w, h, angle):
    box = boxes.rotated_box(cx, cy, w, h, angle)
    assert box.w >= box.h
    assert -90 <= box.angle < 90
    points = box.corners().reshape(4, 2)
    wanted = corners_of(cx, cy, w, h, angle)
    distance = np.linalg.norm(points[:, None] - wanted[None], axis=2)
    assert distance.min(1).max() < 0.02  # angles within a thousandth of a degree of level are made level
    assert len(set(distance.argmin(1))) == 4


@settings(deadline=None)
@given(place, place, side, side, st.floats(-90, 90), st.integers(0, 3), st.booleans())
def test_corners_and_box_are_the_same(cx, cy, w, h, angle, first, backwards):
    assume(abs(w - h) > 1e-2)
    box = boxes.rotated_box(cx, cy, w, h, angle)
    points = np.roll(box.corners().reshape(4, 2), first, axis=0)
    back = boxes.from_corners(points[::-1] if backwards else points)
    assert row(back)[:4] == pytest.approx(row(box)[:4], abs=1e-3)
    turned = abs(back.angle - box.angle)
    assert min(turned, 180 - turned) < 2e-3


@settings(deadline=None)
@given(place, place, side, side, st.floats(-90, 90))
def test_corners_run_clockwise_from_the_topmost_then_leftmost(cx, cy, w, h, angle):
    points = boxes.rotated_box(cx, cy, w, h, angle).corners().astype(np.float32).reshape(4, 2)
    assert tuple(points[0][::-1]) == min(tuple(point[::-1]) for point in points)
    (x1, y1), (x2, y2), (x3, y3) = points[:3].astype(float)
    assert (x2 - x1) * (y3 - y2) - (y2 - y1) * (x3 - x2) > 0  # clockwise, with y down


@pytest.mark.parametrize(
    ("given_box", "wanted", "corners"),
    [
        ([10, 20, 30, 10], [25, 25, 30, 10, 0], [10, 20, 40, 20, 40, 30, 10, 30]),
        ([10, 20, 10, 30], [15, 35, 30, 10, -90], [10, 20, 20, 20, 20, 50, 10, 50]),
        ([10, 20, 10, 10], [15, 25, 10, 10, 0], [10, 20, 20, 20, 20, 30, 10, 30]),
    ],
)
def test_axis_aligned_boxes(given_box, wanted, corners):
    box = boxes.from_box(np.array(given_box))
    assert row(box) == wanted
    assert box.corners().tolist() == corners


def drawn(cx, cy, w, h, angle, shape=(240, 320)):
    mask = np.zeros(shape, np.uint8)
    cv2.fillPoly(mask, [np.rint(corners_of(cx, cy, w, h, angle) * 256).astype(np.int32)], 1, shift=8)
    return mask


@pytest.mark.parametrize("rule", ["mbr", "opt", "ellipse"])
@pytest.mark.parametrize("angle", [-90, -60, -30, 0, 20, 45, 80])
def test_rules_find_a_drawn_rectangle(rule, angle):
    box = boxes.box_from_mask(drawn(160, 120, 120, 50, angle), rule)
    assert (box.cx, box.cy) == pytest.approx((160, 120), abs=1.5)
    assert (box.w, box.h) == pytest.approx((120, 50), abs=5)
    turned = abs(box.angle - angle) % 180
    assert min(turned, 180 - turned) < 3


def test_minmax_runs_through_the_outermost_pixel_centres():
    mask = np.zeros((50, 60), bool)
    mask[10:31, 20:25] = True
    for rule in ("minmax", "mbr"):
        box = boxes.box_from_mask(mask, rule, smallest_area=0)
        assert row(box) == pytest.approx([22, 20, 20, 4, -90], abs=1e-4)


def blobs(seed, height=90, width=120):
    noise = cv2.GaussianBlur(np.random.default_rng(seed).standard_normal((height, width)).astype(np.float32), (0, 0), 9)
    return (noise > 0.03).astype(np.uint8)


@pytest.mark.parametrize("seed", range(12))
def test_opt_overlaps_at_least_as_much_as_every_other_rule(seed):
    mask = blobs(seed)
    found = {rule: boxes.box_from_mask(mask, rule) for rule in boxes.RULES}
    value = {rule: overlap(mask, [row(box)])[0] for rule, box in found.items()}
    assert value["opt"] >= max(value.values())
    rng = np.random.default_rng(seed)
    near = np.array(row(found["opt"])) + rng.normal(0, [4, 4, 6, 6, 5], (3000, 5))
    near[:, 2:4] = np.abs(near[:, 2:4])
    assert value["opt"] >= overlap(mask, near).max() - 0.01


def test_overlap_counts_pixel_centres_edges_included():
    mask = np.zeros((40, 40), np.uint8)
    mask[10:20, 5:25] = 1
    exact, half, tilted = overlap(mask, [[14.5, 14.5, 19, 9, 0], [14.5, 12, 19, 4, 0], [14.5, 14.5, 9, 19, 90]])
    assert exact == tilted == 1
    assert half == 0.5
    wide = [[14.5, 14.5, 29, 9, 0]]  # from 0 to 29
    assert overlap(mask, wide)[0] == pytest.approx(200 / 300)


@pytest.mark.parametrize("seed", range(3))
def test_overlap_agrees_with_testing_every_pixel(seed):
    rng = np.random.default_rng(seed)
    mask = blobs(seed)
    y, x = np.mgrid[-150:300, -150:300]
    full = np.zeros(x.shape, bool)
    full[150 : 150 + 90, 150 : 150 + 120] = mask
    for cx, cy, w, h, angle in rng.uniform([0, 0, 5, 5, -90], [120, 90, 150, 90, 90], (20, 5)):
        turn = math.radians(angle)
        u = (x - cx) * math.cos(turn) + (y - cy) * math.sin(turn)
        v = (y - cy) * math.cos(turn) - (x - cx) * math.sin(turn)
        inside = (np.abs(u) <= w / 2) & (np.abs(v) <= h / 2)
        wanted = (inside & full).sum() / (inside | full).sum()
        made = overlap(mask, [[cx, cy, w, h, angle]])[0]
        assert made == pytest.approx(wanted, abs=3e-4)  # a centre within 1e-4 px of an edge lies on it


@pytest.mark.shared
def test_opt_is_never_worse_than_mbr_on_real_masks(shared):
    import pyarrow.parquet as pq

    table = pq.read_table(shared / "data/davis/masks.parquet", columns=["split", "mask"]).to_pylist()
    gains = []
    for entry in [each["mask"] for each in table if each["split"] == "val"][::12]:
        full = rle.decode(entry)
        smallest, best = boxes.box_from_mask(full, "mbr"), boxes.box_from_mask(full, "opt")
        if smallest is not None:
            before, after = overlap(full, [row(smallest), row(best)])
            assert after >= before
            gains.append(after - before)
    assert np.mean(gains) > 0.1


@pytest.mark.parametrize("rule", boxes.RULES)
def test_masks_without_a_usable_contour_make_no_box(rule):
    assert boxes.box_from_mask(np.zeros((0, 0), bool), rule) is None
    assert boxes.box_from_mask(np.zeros((30, 30), bool), rule) is None
    small = np.zeros((30, 30), np.uint8)
    small[5:16, 5:16] = 1  # 11x11 pixels, 10x10 between their centres: not above 100
    assert boxes.box_from_mask(small, rule) is None
    small[16, 5:16] = 1
    assert boxes.box_from_mask(small, rule) is not None


@pytest.mark.parametrize("rule", boxes.RULES)
def test_thin_masks_make_finite_boxes(rule):
    for shape in ((1, 200), (200, 1), (2, 200)):
        box = boxes.box_from_mask(np.ones(shape, np.uint8), rule, smallest_area=-1)
        assert np.isfinite(row(box)).all()
        assert box.w == pytest.approx(199, abs=3)


def test_the_largest_contour_makes_the_box():
    mask = drawn(80, 80, 60, 30, 0)
    mask[200:215, 300:315] = 1
    assert boxes.box_from_mask(mask, "mbr").cx == pytest.approx(80, abs=1)


def test_unknown_rules_are_named():
    with pytest.raises(ValueError, match="no rule 'mrb'.*minmax, mbr, opt, ellipse"):
        boxes.box_from_mask(np.ones((40, 40), np.uint8), "mrb")


def test_polygon_becomes_the_box_of_equal_area():
    assert box_from_polygon([10, 20, 60, 20, 60, 51, 10, 51]) == pytest.approx((10, 20, 50, 31))
    points = corners_of(100, 80, 60, 20, 30)
    x, y, w, h = box_from_polygon(points.reshape(-1))
    assert w * h == pytest.approx(60 * 20)
    assert (x + w / 2, y + h / 2) == pytest.approx((100, 80))
    assert w / h == pytest.approx(np.ptp(points[:, 0]) / np.ptp(points[:, 1]))


@pytest.mark.parametrize("polygon", [[1, 2, 3], [0, 0, 1, 0, 2, 0, 3, 0], [0, 0, float("nan"), 0, 1, 1, 0, 1]])
def test_unusable_polygons_are_refused(polygon):
    with pytest.raises(ValueError, match="polygon"):
        box_from_polygon(polygon)


def test_mask_becomes_its_bounding_box():
    window = np.zeros((20, 30), np.uint8)
    window[3:9, 4:20] = 1
    encoded = rle.encode_window(window, 10, 5, 100, 200)
    assert box_from_rle(encoded, 100, 200) == (14, 8, 16, 6)
    with pytest.raises(ValueError, match="200x100, but the frame is 100x200"):
        box_from_rle(encoded, 200, 100)
    with pytest.raises(ValueError, match="empty"):
        box_from_rle(rle.encode_window(window * 0, 0, 0, 100, 200), 100, 200)
