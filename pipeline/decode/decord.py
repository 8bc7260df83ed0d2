"""The decord decoder: held to PyAV all along.

decord reads ahead without limit to the end of what it is given, so it gets the video in excerpts cut at key frames
(`pipeline.decode.excerpts`), one at a time: what it holds is an excerpt. It can give wrong frames without a word (a
shifted index after pictures that do not decode, the last good frame again, other colours), so it must agree with PyAV
to the bit on the range's first key frame, is compared again at every key frame, and must give as many frames as an
excerpt has packets. A wrong frame thus never outlives the clip: the clip is started over (`DecordWrong`).
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from model.video.index import VideoIndex
from pipeline.decode.block import BEAT_SECONDS, Block
from pipeline.decode.excerpts import FORMATS, Excerpt, ExcerptReader, plan_excerpts

EXACT = "1e-9"
"""decord's fault_tol for which the first repeated frame is an error (0 and -1 mean: repeat without a word)."""

LARGEST_PICTURE = 1280 * 720
"""Pixels of a picture up to which decord decodes: beyond, an excerpt costs half as much again as PyAV."""


class DecordWrong(Exception):
    """decord gave another frame than PyAV: nothing it gave in this range can be trusted."""


class DecordGone(Exception):
    """decord raised, or cannot have the next excerpt: it gives no further frame."""


def suits(index: VideoIndex, start: int, end: int, stride: int) -> bool:
    """Whether decord is worth asking.

    The range must fall into excerpts. decord turns frames upright and never mirrors them, and it converts every frame
    to RGB: with a stride PyAV gives the same frames for less. So it does for pictures of more than `LARGEST_PICTURE`,
    of which an excerpt holds few.
    """
    if stride > 1 or index.orientation.mirrored or index.width * index.height > LARGEST_PICTURE:
        return False
    return plan_excerpts(index, start, end) is not None


class DecordDecoder:
    """Decodes ranges of one video, with a stride of 1.

    Attributes:
        last: index and a copy of the last frame handed out, None before the first.
    """

    def __init__(self, index: VideoIndex, *, chunk_bytes: int = 32 << 20) -> None:
        self.last: tuple[int, NDArray[np.uint8]] | None = None
        self._index = index
        self._per_chunk = max(1, chunk_bytes // (index.width * index.height * 3))
        self._forms = list(FORMATS)
        self._agreed = False

    def chunks(self, start: int, end: int) -> Iterator[Block | None]:
        """Frames start to end (half-open), by index; None is a sign of life. The range must be one that `suits`.

        Raises:
            DecordGone: no further frame comes; those handed out were not all compared (see `last`).
            DecordWrong: some frame handed out was wrong; raised before the first where decord does not agree.
        """
        plan = plan_excerpts(self._index, start, end)
        if plan is None:
            raise DecordGone("the video cannot be cut into excerpts")
        shape = (min(self._per_chunk, end - start), self._index.height, self._index.width, 3)
        frames, filled, beat = np.empty(shape, np.uint8), 0, time.monotonic()
        for index, picture in self._frames(plan, end):
            if start <= index < end:
                frames[filled] = picture
                filled += 1
            if filled == len(frames) or (filled and index == end - 1):
                self.last = (index, picture.copy())
                yield Block(frames[:filled], np.arange(index + 1 - filled, index + 1, dtype=np.int64), 0)
                frames, filled, beat = np.empty(shape, np.uint8), 0, time.monotonic()
            elif time.monotonic() - beat > BEAT_SECONDS:
                yield None
                beat = time.monotonic()

    def _frames(self, plan: list[tuple[int, int]], end: int) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """All frames of the planned excerpts, each valid until the next: that none is missing shows by their number."""
        reader = ExcerptReader(self._index, plan, end)
        read = 0
        try:
            for excerpt in reader:
                read += 1
                video = self._open(reader, excerpt)
                for index in excerpt.frames.tolist():
                    frame, picture = self._next(video)
                    if index in excerpt.keys:
                        self._compare(reader, excerpt, index, picture)
                    yield index, picture
                    del frame, picture
                del video
                _return_free_memory()
        except (av.FFmpegError, OSError) as error:
            raise DecordGone(f"its next excerpt could not be read ({type(error).__name__})") from None
        finally:
            reader.close()
        if read < len(plan):
            raise DecordGone("its next excerpt was not found")

    def _open(self, reader: ExcerptReader, excerpt: Excerpt) -> Any:
        """decord's reader of the excerpt, in the first container that holds it."""
        import decord  # after PyAV and OpenCV: it puts an FFmpeg of its own before theirs, for what is loaded later

        while True:
            try:
                file = reader.file(excerpt, self._forms[0])
                video = decord.VideoReader(file, ctx=decord.cpu(0), num_threads=1, fault_tol=EXACT)
                if len(video) == len(excerpt.frames):
                    return video
                problem = f"it counts {len(video)} frames, the container has {len(excerpt.frames)}"
            except Exception as error:  # decord's own errors have no base class but this
                problem = _reason(error)
            if self._agreed or len(self._forms) == 1:
                raise DecordGone(problem)
            self._forms.pop(0)

    def _next(self, video: Any) -> tuple[Any, NDArray[np.uint8]]:
        """The next frame, and its pixels without a copy: valid as long as the frame is."""
        try:
            frame = video.next()
            shape = tuple(frame.shape)
        except Exception as error:  # as above; at the end of the file it is a StopIteration
            raise DecordGone(_reason(error)) from None
        if shape != (self._index.height, self._index.width, 3):
            raise DecordGone(f"it gave a frame of {shape}")
        array = frame.handle.contents
        memory = (ctypes.c_uint8 * (shape[0] * shape[1] * 3)).from_address(array.data + array.byte_offset)
        return frame, np.ctypeslib.as_array(memory).reshape(shape)

    def _compare(self, reader: ExcerptReader, excerpt: Excerpt, index: int, picture: NDArray[np.uint8]) -> None:
        expected = reader.key_frame(excerpt, index)
        if expected is None and self._agreed:
            return
        if expected is None or not np.array_equal(picture, expected):
            raise DecordWrong(f"its frame {index} is not PyAV's")
        self._agreed = True


def _return_free_memory() -> None:
    """Give free memory back to the system, where the C library can.

    Every reader of decord has a new thread, and glibc gives a thread any arena that is free; in a worker of Ray, with
    its many threads, an excerpt's frames would be left in one arena after the other.
    """
    if (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)


def _reason(error: Exception) -> str:
    return f"it raised {type(error).__name__}: {' '.join(str(error).split())[:200]}"


__all__ = ["DecordDecoder", "DecordGone", "DecordWrong", "suits"]
