"""Read the frames of a local video by their index."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.video.container import rgb
from model.video.errors import VideoError
from model.video.frames import IndexMismatch, decode_range, pieces_backward, reindexed
from model.video.index import VideoIndex, index_video


@dataclass(frozen=True, slots=True)
class Frame:
    """A decoded frame: its index, its time in seconds after the first one, and uint8 [H, W, 3] RGB, upright."""

    index: int
    pts_s: float
    image: NDArray[np.uint8]


class Video:
    """A local video file; made by `open_video`.

    Attributes:
        index: which frames it has. Replaced where decoding shows that the file's packets do not tell the truth.
    """

    def __init__(self, index: VideoIndex) -> None:
        self.index = index

    @property
    def width(self) -> int:
        """Pixels of the upright frame."""
        return self.index.width

    @property
    def height(self) -> int:
        """Pixels of the upright frame."""
        return self.index.height

    @property
    def fps(self) -> float:
        """Average frames a second, 0 where the file does not say."""
        return self.index.fps

    @property
    def frames(self) -> int:
        """How many frames it has, those that do not decode among them."""
        return self.index.frames

    def read(self, start: int = 0, end: int | None = None) -> Iterator[Frame]:
        """Decode frames start to end (half-open), one at a time; those that do not decode are left out.

        Raises:
            VideoError: the file ends early, a frame changes size, or the frames given turn out to have another index.
        """
        index, last = self.index, None
        while True:
            try:
                for last in self._read(index, start, end):
                    yield last
                return
            except IndexMismatch as mismatch:
                index = self.index = reindexed(index, mismatch)
                if last is not None:
                    if last.index >= index.frames or last.pts_s != index.seconds(np.array([last.index]))[0]:
                        message = f"{mismatch}: frames up to {last.index} may have another index"
                        raise VideoError("decode", "IndexMismatch", message) from None
                    start = last.index + 1

    def read_backward(self, start: int, end: int) -> Iterator[Frame]:
        """Decode frames of a range (half-open), the last one first; a bounded number of them is held at a time.

        Those that do not decode are left out, and so are those of which `read` raises that they cannot be had. Where
        `index` is replaced on the way, frames that were given may have another index.
        """
        for piece in pieces_backward(self.index, range(start, end)):
            held: list[Frame] = []
            with contextlib.suppress(VideoError):
                held.extend(self.read(piece.start, piece.stop))
            while held:
                yield held.pop()

    @staticmethod
    def _read(index: VideoIndex, start: int, end: int | None) -> Iterator[Frame]:
        for frame in decode_range(index, start, index.frames if end is None else min(end, index.frames)):
            if frame is not None:
                place, picture = frame
                image = index.orientation.upright(rgb(picture))
                yield Frame(place, float(index.seconds(np.array([place]))[0]), image)


def open_video(path: str | os.PathLike[str], *, rate: float | None = None) -> Video:
    """Look through a local video file or folder of pictures; see `index_video`.

    Raises:
        VideoError: no such file, no video, or nothing in it decodes.
    """
    return Video(index_video(path, rate=rate))
