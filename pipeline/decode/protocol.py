"""The one interface of a decoder, whichever library is behind it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.decode.events import VideoInfo

BEAT_SECONDS = 3.0
"""A decoder that has nothing to hand out yet yields None about this often, so that silence means a hang."""


@dataclass(frozen=True, slots=True)
class Block:
    """Decoded frames.

    Attributes:
        frames: uint8 [n, height, width, 3], RGB, upright; valid until the next block is asked for.
        frame_index: int64 [n], strictly increasing.
        corrupt: frames since the range's start that could not be decoded.
    """

    frames: NDArray[np.uint8]
    frame_index: NDArray[np.int64]
    corrupt: int


class Decoder(Protocol):
    """Decodes ranges of one video.

    Attributes:
        info: the video, with the decoder that speaks.
        corrupt: undecodable frames of the range, up to where decoding got.
    """

    info: VideoInfo
    corrupt: int

    def chunks(self, start: int, end: int, stride: int) -> Iterator[Block | None]:
        """Frames start, start + stride, … below end, by index; None is a sign of life.

        Raises VideoError where no further frame can be had.
        """
        ...

    def close(self) -> None:
        """Give back files, memory and processes."""
        ...
