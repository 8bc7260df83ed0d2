"""The PyAV decoder: works on everything, and is what decord is held to."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator

import numpy as np

from model.video.container import rgb
from model.video.errors import VideoError
from model.video.frames import decode_range, pieces_backward
from model.video.index import VideoIndex
from pipeline.decode.block import BEAT_SECONDS, Block


class PyAVDecoder:
    """Decodes ranges of one video. A frame that FFmpeg cannot decode is left out and counted in `corrupt`.

    Where FFmpeg conceals damage and shows the frame, so does this. A frame of another size than the first ends the
    range with `SizeChanged`, a file that can no longer be read with `Truncated`. Frames before such an error are right.
    """

    def __init__(self, index: VideoIndex, *, chunk_bytes: int = 32 << 20) -> None:
        self.corrupt = 0
        self._index = index
        self._per_chunk = max(1, chunk_bytes // (index.width * index.height * 3))

    def chunks(self, start: int, end: int, stride: int) -> Iterator[Block | None]:
        """Frames start, start + stride, … below end, by index; None is a sign of life.

        Raises:
            VideoError: no further frame can be had.
            IndexMismatch: the decoder shows other frames than the index has.
        """
        self.corrupt = 0
        shape = (min(self._per_chunk, -(-(end - start) // stride)), self._index.height, self._index.width, 3)
        frames, indexes = np.empty(shape, np.uint8), list[int]()
        following, beat, error = start, time.monotonic(), None
        try:
            for item in decode_range(self._index, start, end, stride):
                if item is not None:
                    place, picture = item
                    self.corrupt += (place - following) // stride
                    following = place + stride
                    self._index.orientation.upright(rgb(picture), into=frames[len(indexes)])
                    indexes.append(place)
                if len(indexes) == len(frames):
                    yield Block(frames, np.array(indexes, np.int64), self.corrupt)
                    frames, indexes, beat = np.empty(shape, np.uint8), [], time.monotonic()
                elif time.monotonic() - beat > BEAT_SECONDS:
                    yield None
                    beat = time.monotonic()
            self.corrupt += len(range(following, end, stride))
        except VideoError as video_error:
            error = video_error
        if indexes:
            yield Block(frames[: len(indexes)], np.array(indexes, np.int64), self.corrupt)
        if error is not None:
            raise error

    def backward(self, wanted: range) -> Iterator[Block | None]:
        """The wanted frames, the last one first; a piece of bounded size is decoded and held at a time.

        Frames of which `chunks` raises that they cannot be had are left out, as those that cannot be decoded; `corrupt`
        counts neither.

        Raises:
            IndexMismatch: the decoder shows other frames than the index has.
        """
        whole = PyAVDecoder(self._index, chunk_bytes=sys.maxsize)
        for piece in pieces_backward(self._index, wanted):
            with contextlib.suppress(VideoError):
                for held in whole.chunks(piece.start, piece.stop, piece.step):
                    if held is None:
                        yield None
                        continue
                    for end in range(len(held.frame_index), 0, -self._per_chunk):
                        part = slice(max(0, end - self._per_chunk), end)
                        frames = np.ascontiguousarray(held.frames[part][::-1])
                        yield Block(frames, held.frame_index[part][::-1].copy(), 0)
                    del held
