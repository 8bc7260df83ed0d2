"""What a decoder gives, whichever library is behind it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BEAT_SECONDS = 3.0
"""A decoder that has nothing to hand out yet yields None about this often, so that silence means a hang."""


@dataclass(frozen=True, slots=True)
class Block:
    """Decoded frames.

    Attributes:
        frames: uint8 [n, height, width, 3], RGB, upright.
        frame_index: int64 [n], strictly increasing, or decreasing where they are read backward.
        corrupt: frames since the range's start that could not be decoded.
    """

    frames: NDArray[np.uint8]
    frame_index: NDArray[np.int64]
    corrupt: int
