"""Anchors of the score map: the published shapes, places and order."""

from __future__ import annotations

import numpy as np

from model.network.anchors import anchors, cosine_window


def test_shapes_are_the_published_ones():
    boxes = anchors()
    assert boxes.shape == (5, 25, 25, 4)
    assert boxes[:, 3, 7, 2:].tolist() == [[104, 32], [88, 40], [64, 64], [40, 80], [32, 96]]


def test_centres_run_over_rows_and_columns_about_the_middle():
    boxes = anchors()
    assert boxes[0, 12, 12, :2].tolist() == [0, 0]
    assert boxes[4, 0, 24, :2].tolist() == [96, -96]
    assert np.array_equal(boxes[2, 5, :, 0], (np.arange(25) - 12) * 8)


def test_cosine_window_peaks_in_the_middle():
    window = cosine_window()
    assert window.shape == (25, 25)
    assert window[12, 12] == 1
    assert window[0].max() == 0
    assert np.allclose(window, window.T)
