"""COCO RLE of windows: the same text as pycocotools makes of the full frame."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco

from model.masks import rle


def reference(full: np.ndarray) -> dict:
    encoded = coco.encode(np.asfortranarray(full.astype(np.uint8)))
    return {"size": [int(side) for side in encoded["size"]], "counts": encoded["counts"].decode()}


@st.composite
def windows(draw):
    window = draw(
        hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(0, 1))
    )
    before = draw(st.tuples(st.integers(0, 40), st.integers(0, 40)))
    after = draw(st.tuples(st.integers(0, 40), st.integers(0, 40)))
    return window, before, after


@settings(max_examples=400, deadline=None)
@given(windows())
def test_window_encodes_like_the_full_frame(case):
    window, (top, left), (bottom, right) = case
    full = np.pad(window, ((top, bottom), (left, right)))
    encoded = rle.encode_window(window, left, top, *full.shape)
    assert encoded == reference(full)
    assert np.array_equal(rle.decode(encoded), full)
    assert rle.area(encoded) == full.sum()
    box = rle.bounding_box(encoded)
    if full.any():
        assert box == tuple(coco.toBbox({**encoded, "counts": encoded["counts"].encode()}).astype(int))
    else:
        assert box is None


@pytest.mark.parametrize("shape", [(1080, 1920), (2160, 3840), (7, 1)])
def test_large_frames_and_odd_masks(shape):
    rng = np.random.default_rng(0)
    for full in (
        np.zeros(shape),
        np.ones(shape),
        rng.random(shape) > 0.999,
        np.tile(rng.random(shape[1]) > 0.5, (shape[0], 1)),
    ):
        assert rle.encode_window(full, 0, 0, *shape) == reference(full)


def test_bool_windows_and_views_are_the_same():
    window = np.random.default_rng(1).random((30, 40)) > 0.5
    wanted = rle.encode_window(window.astype(np.uint8), 3, 4, 60, 80)
    assert rle.encode_window(window, 3, 4, 60, 80) == wanted
    assert rle.encode_window(window[::-1].copy()[::-1], 3, 4, 60, 80) == wanted


def test_an_empty_window_is_an_empty_mask():
    assert rle.encode_window(np.zeros((0, 0), bool), 0, 0, 6, 5) == reference(np.zeros((6, 5)))


def test_window_outside_the_frame_is_refused():
    with pytest.raises(ValueError, match="does not lie inside the 20x10 frame"):
        rle.encode_window(np.ones((5, 5)), 16, 0, 10, 20)


def test_reading_bytes_and_plain_lists():
    full = np.zeros((6, 5), np.uint8)
    full[2:4, 1:4] = 1
    encoded = reference(full)
    runs = rle.text_to_runs(encoded["counts"])
    for counts in (encoded["counts"].encode(), runs.tolist()):
        assert np.array_equal(rle.decode({"size": [6, 5], "counts": counts}), full)


@pytest.mark.parametrize("counts", ["0", "h", "\u00e9", "!!", [3, -1, 28], [5]])
def test_broken_counts_are_named(counts):
    with pytest.raises(ValueError, match="mask"):
        rle.decode({"size": [6, 5], "counts": counts})
