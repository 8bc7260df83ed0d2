"""From probabilities to rows: the published pixels, at the window's cost."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from model.masks import finish as masks
from model.masks import rle


def soft_ellipse(size=127, seed=0):
    rng = np.random.default_rng(seed)
    mask = np.zeros((size, size), np.uint8)
    axes = tuple(int(axis * size / 127) for axis in rng.integers(15, 40, 2))
    cv2.ellipse(mask, (size // 2, size // 2), axes, float(rng.uniform(0, 180)), 0, 360, 1, -1)
    return cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 1.5)


def published(probability, window, threshold, height, width):
    """The published paste: warp to the whole frame, -1 around the mask."""
    size = probability.shape[0]
    k = size / window[2]
    back = (-window[0] * k, -window[1] * k, width * k, height * k)
    a, b = (width - 1) / back[2], (height - 1) / back[3]
    mapping = np.array([[a, 0, -a * back[0]], [0, b, -b * back[1]]])
    warped = cv2.warpAffine(probability, mapping, (width, height), flags=cv2.INTER_LINEAR, borderValue=-1)
    return warped > threshold


def whole(mask, height, width):
    full = np.zeros((height, width), bool)
    full[mask.y : mask.y + mask.pixels.shape[0], mask.x : mask.x + mask.pixels.shape[1]] = mask.pixels
    return full


def output(probability, window, threshold=0.35, box=(100.0, 50.0, 40.0, 30.0)):
    return SimpleNamespace(mask_probability=probability, window=window, threshold=threshold, box=np.array(box))


@pytest.mark.parametrize("size", [127, 63])
@pytest.mark.parametrize(
    "window",
    [
        (100.3, 60.7, 90.2, 90.2),
        (-40.5, -30.2, 200, 200),  # over the top-left corner
        (330.1, 170.4, 150, 150),  # over the bottom-right corner
        (-300.0, -200.0, 1000, 1000),  # larger than the frame
        (200, 100, 12.5, 12.5),  # smaller than its own pixels
    ],
)
def test_paste_gives_the_published_pixels(size, window):
    for seed in range(3):
        probability = soft_ellipse(size, seed)
        wanted = published(probability, window, 0.35, 240, 427)
        made = whole(masks.paste(probability, window, 0.35, 240, 427), 240, 427)
        union = (made | wanted).sum()
        assert union > 0
        assert (made & wanted).sum() / union >= 0.995


def test_pasted_pixels_are_those_of_an_interpolation_of_every_pixel():
    """By OpenCV, whose linear warp defines the published masks: maps of any texture, enlarged and reduced."""
    rng = np.random.default_rng(0)
    for _ in range(60):
        size = int(rng.integers(20, 128))
        probability = cv2.GaussianBlur(rng.random((size, size)).astype(np.float32), (0, 0), rng.uniform(0.5, 5))
        threshold = float(np.quantile(probability, rng.uniform(0.1, 0.95)))
        side = float(rng.uniform(15, 600))
        window = (float(rng.uniform(-200, 400)), float(rng.uniform(-200, 200)), side, side)
        wanted = published(probability, window, threshold, 240, 427)
        made = whole(masks.paste(probability, window, threshold, 240, 427), 240, 427)
        assert (made != wanted).sum() <= 1e-4 * wanted.size  # rounding at the threshold itself
        assert (made & wanted).sum() >= 0.999 * (made | wanted).sum()


def test_a_full_mask_reaches_the_edge_of_its_window_only():
    probability = np.ones((127, 127), np.float32)
    made = whole(masks.paste(probability, (50, 40, 60, 60), 0.3, 240, 427), 240, 427)
    assert np.array_equal(made, published(probability, (50, 40, 60, 60), 0.3, 240, 427))


def test_work_stays_within_the_object():
    pasted = masks.paste(soft_ellipse(), (900.0, 500.0, 127.0, 127.0), 0.35, 2160, 3840)
    height, width = pasted.pixels.shape
    assert max(height, width) <= 90


def test_finished_row_agrees_with_itself():
    row = masks.finish(output(soft_ellipse(), (200.0, 80.0, 110.0, 110.0)), 240, 427)
    full = rle.decode(row.rle)
    assert row.rle["size"] == [240, 427]
    assert row.area == full.sum() > 0
    assert row.rbox_from_mask
    assert row.rbox.dtype == row.corners.dtype == np.float32
    assert row.corners.reshape(4, 2).mean(0) == pytest.approx(row.rbox[:2], abs=1e-3)
    y, x = np.nonzero(full)
    assert row.rbox[:2] == pytest.approx([x.mean(), y.mean()], abs=3)
    outline = row.corners.reshape(-1, 1, 2)
    farthest = min(cv2.pointPolygonTest(outline, (float(px), float(py)), True) for px, py in zip(x, y, strict=True))
    assert farthest > -0.01  # the smallest rectangle holds every pixel centre


@pytest.mark.parametrize(
    ("probability", "window"),
    [
        (np.zeros((127, 127), np.float32), (200.0, 80.0, 110.0, 110.0)),  # empty
        (soft_ellipse(), (1000.0, 80.0, 110.0, 110.0)),  # beside the frame
        (soft_ellipse(), (200.0, 80.0, 14.0, 14.0)),  # too small an outline
        (np.full((127, 127), np.nan, np.float32), (200.0, 80.0, 110.0, 110.0)),
    ],
)
def test_without_a_usable_contour_the_box_is_the_trackers(probability, window):
    row = masks.finish(output(probability, window), 240, 427)
    assert not row.rbox_from_mask
    assert row.rbox.tolist() == [120, 65, 40, 30, 0]
    assert row.corners.tolist() == [100, 50, 140, 50, 140, 80, 100, 80]
    assert rle.area(row.rle) == row.area


@pytest.mark.parametrize("rule", ["minmax", "mbr", "opt", "ellipse"])
def test_every_rule_finishes(rule):
    row = masks.finish(output(soft_ellipse(), (200.0, 80.0, 110.0, 110.0)), 240, 427, rule)
    assert row.rbox_from_mask
    assert row.rbox[2] >= row.rbox[3] > 10


def test_unknown_rule_is_refused_even_for_an_empty_mask():
    with pytest.raises(ValueError, match="no rule 'best'"):
        masks.finish(output(np.zeros((127, 127), np.float32), (0, 0, 10, 10)), 240, 427, "best")
