"""Pictures that carry their number as a bar code, so that a frame tells which one it is after any codec."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BITS = 6


def draw(number: int, width: int, height: int) -> NDArray[np.uint8]:
    """uint8 [height, width, 3] RGB: a white block and the bits of `number` at the top, red and blue corners below."""
    image = np.full((height, width, 3), 96, np.uint8)
    block, bar = width // (BITS + 2), height // 4
    image[:bar] = 0
    image[:bar, :block] = 255
    for bit in range(BITS):
        if number >> (BITS - 1 - bit) & 1:
            image[:bar, (bit + 1) * block : (bit + 2) * block] = 255
    image[-bar:, : width // 4] = (200, 20, 20)
    image[-bar:, -(width // 4) :] = (20, 20, 200)
    left = 4 + 3 * number % (width // 2)
    image[height // 2 - 4 : height // 2 + 4, left : left + 8] = (230, 190, 30)
    return image


def read(image: NDArray[np.uint8]) -> int | None:
    """The number of an upright picture; None where there is no bar code."""
    height, width = image.shape[:2]
    block, bar = width // (BITS + 2), height // 4
    grey = image[bar // 4 : bar - bar // 4].astype(int).mean(axis=(0, 2))
    white = [grey[at * block + block // 4 : (at + 1) * block - block // 4].mean() > 128 for at in range(BITS + 2)]
    if not white[0] or white[-1]:
        return None
    return sum(int(bit) << (BITS - 1 - place) for place, bit in enumerate(white[1:-1]))
