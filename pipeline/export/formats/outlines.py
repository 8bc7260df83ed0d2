"""Masks as polygons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco

_FEWEST_POINTS = 3


def outlines(rle: Mapping[str, Any]) -> list[np.ndarray]:
    """The outlines of a mask's pieces, the largest first, each float64 [n, 2] of x and y with n >= 3.

    They go through the centres of the outermost pixels, in coordinates in which a pixel's centre is at .5; holes are
    filled. Pieces that are too thin for a polygon are left out, but of a mask of such pieces alone the box is given.

    Args:
        rle: the mask, with one pixel at least.
    """
    contours, _ = cv2.findContours(coco.decode(rle), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    pieces = [contour.reshape(-1, 2) + 0.5 for contour in contours if len(contour) >= _FEWEST_POINTS]
    if not pieces:
        x, y, w, h = coco.toBbox(rle)
        return [np.array([(x, y), (x + w, y), (x + w, y + h), (x, y + h)])]
    return sorted(pieces, key=lambda piece: -cv2.contourArea(piece.astype(np.float32)))
