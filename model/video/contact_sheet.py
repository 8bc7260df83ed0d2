"""A contact sheet: some frames of a video side by side in one picture."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

GAP = 8


def spread(items: Sequence[int], most: int) -> list[int]:
    """At most `most` of the items, the first and the last among them, evenly apart.

    >>> spread([4, 5, 6, 7, 8, 9, 10], 3)
    [4, 7, 10]
    """
    if len(items) <= most:
        return list(items)
    return [items[round(position)] for position in np.linspace(0, len(items) - 1, most)]


def contact_sheet(
    pictures: Sequence[NDArray[np.uint8]], captions: Sequence[str], *, columns: int = 3, width: int = 480
) -> NDArray[np.uint8]:
    """Lay pictures of one size out in rows.

    Args:
        pictures: at least one, uint8 [H, W, 3] RGB.
        captions: one a picture, written into its bottom left corner.
        columns: pictures a row.
        width: pixels that a picture is wide on the sheet; never more than its own.

    Returns:
        uint8 [rows, columns, 3] RGB, on white.
    """
    full_height, full_width = pictures[0].shape[:2]
    width = min(width, full_width)
    height = max(1, round(full_height * width / full_width))
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    sheet = np.full((rows * (height + GAP) + GAP, columns * (width + GAP) + GAP, 3), 255, np.uint8)
    for number, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        row, column = divmod(number, columns)
        y, x = GAP + row * (height + GAP), GAP + column * (width + GAP)
        small = np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
        _caption(small, caption)
        sheet[y : y + height, x : x + width] = small
    return sheet


def _caption(picture: NDArray[np.uint8], text: str) -> None:
    (text_width, text_height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)
    bottom = picture.shape[0]
    cv2.rectangle(picture, (0, bottom - text_height - below - 6), (text_width + 8, bottom), (24, 24, 24), -1)
    cv2.putText(picture, text, (4, bottom - below - 2), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1, cv2.LINE_AA)
