"""A frame with rulers along its sides and a grid, to read the box of an object off."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_LINES = 12
_MARGIN = 44
_INK, _PAPER = (40, 40, 40), (255, 255, 255)


def with_rulers(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Add rulers in pixels of the frame, from its top-left corner.

    Args:
        picture: uint8 [H, W, 3] RGB.

    Returns:
        uint8 [H + 44, W + 44, 3] RGB: the frame with a grid on it, to the right of and below white rulers.
    """
    height, width = picture.shape[:2]
    step = _step(max(height, width))
    sheet = np.full((height + _MARGIN, width + _MARGIN, 3), _PAPER, np.uint8)
    frame = sheet[_MARGIN:, _MARGIN:]
    frame[:] = picture
    for x in range(0, width, step):
        frame[:, x] = frame[:, x] // 2 + 127
        _write(sheet, str(x), (_MARGIN + x + 3, _MARGIN - 8))
        sheet[_MARGIN - 20 : _MARGIN, _MARGIN + x] = _INK
    for y in range(0, height, step):
        frame[y] = frame[y] // 2 + 127
        _write(sheet, str(y), (2, _MARGIN + y + 14))
        sheet[_MARGIN + y, :_MARGIN] = _INK
    _write(sheet, "x,y", (2, 16))
    return sheet


def _step(length: int) -> int:
    """1, 2 or 5 times a power of ten, so that about a dozen lines cover the length."""
    return next(
        step
        for power in (1, 10, 100, 1000, 10_000)
        for step in (power, 2 * power, 5 * power)
        if step * _LINES >= length
    )


def _write(sheet: NDArray[np.uint8], text: str, corner: tuple[int, int]) -> None:
    cv2.putText(sheet, text, corner, cv2.FONT_HERSHEY_SIMPLEX, 0.4, _INK, 1, cv2.LINE_AA)
