"""The PyAV decoder: works on everything, and is what decord is held to."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import av
import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from pipeline.decode.errors import VideoError
from pipeline.decode.events import DecodeLimits, VideoInfo
from pipeline.decode.probe import Probe, demux, open_video, reason
from pipeline.decode.protocol import BEAT_SECONDS, Block

_ROTATIONS = (-1, cv2.ROTATE_90_COUNTERCLOCKWISE, cv2.ROTATE_180, cv2.ROTATE_90_CLOCKWISE)


_of_thread = threading.local()


def _reformatter() -> VideoReformatter:
    """The thread's own, which keeps its tables from clip to clip: to make them takes longer than a small frame does."""
    if not hasattr(_of_thread, "reformatter"):
        _of_thread.reformatter = VideoReformatter()
    return _of_thread.reformatter


class _Faulty(Exception):
    """Threaded decoding met damage: which frames come out then depends on the number of threads."""


class PyAVDecoder:
    """Decodes by timestamp: a frame gets the index of its timestamp in the probe, so a lost frame shifts nothing.

    A frame that FFmpeg cannot decode is left out and counted in `corrupt`. Where FFmpeg conceals damage and shows the
    frame, so does this. A frame of another size than the first ends the range with `SizeChanged`, a file that can no
    longer be read with `Truncated`. Frames before such an error are right.
    """

    def __init__(
        self, probe: Probe, *, threads: int = 1, chunk_bytes: int = 32 << 20, limits: DecodeLimits | None = None
    ) -> None:
        self.info: VideoInfo = probe.info
        self.corrupt = 0
        self._probe = probe
        self._threads = threads
        self._limits = limits or DecodeLimits()
        self._per_chunk = max(1, chunk_bytes // (probe.info.width * probe.info.height * 3))

    def chunks(self, start: int, end: int, stride: int) -> Iterator[Block | None]:
        """See `Decoder.chunks`."""
        self.corrupt = 0
        shape = (min(self._per_chunk, -(-(end - start) // stride)), self.info.height, self.info.width, 3)
        frames, indexes = np.empty(shape, np.uint8), list[int]()
        expected, beat, cut = start, time.monotonic(), None
        try:
            for item in self._in_order(start, end):
                if item is not None:
                    index, frame = item
                    self.corrupt += index - expected
                    expected = index + 1
                    if (index - start) % stride == 0:
                        self._upright_rgb(frame, frames[len(indexes)])
                        indexes.append(index)
                if len(indexes) == len(frames):
                    yield Block(frames, np.array(indexes, np.int64), self.corrupt)
                    frames, indexes, beat = np.empty(shape, np.uint8), [], time.monotonic()
                elif time.monotonic() - beat > BEAT_SECONDS:
                    yield None
                    beat = time.monotonic()
            self.corrupt += end - expected
        except VideoError as error:
            cut = error
        if indexes:
            yield Block(frames[: len(indexes)], np.array(indexes, np.int64), self.corrupt)
        if cut is not None:
            raise cut

    def close(self) -> None:
        """Nothing is kept open between ranges."""

    def _in_order(self, start: int, end: int) -> Iterator[tuple[int, VideoFrame] | None]:
        """(index, frame) of the frames that decode in [start, end), None in between as a sign of life."""
        following = start
        if self._threads > 1:
            try:
                for item in self._from(start, end, self._threads):
                    if item is not None:
                        if item[0] != following:
                            raise _Faulty
                        following += 1
                    yield item
                if following == end:
                    return
            except _Faulty:
                pass
        yield from self._from(following, end, 1)

    def _from(self, start: int, end: int, threads: int) -> Iterator[tuple[int, VideoFrame] | None]:
        """The same from one pass, entered at a key frame from which `start` decodes as it does from the beginning."""
        if start >= end:
            return
        for entry in self._entries(start):
            entered = entry is None
            last = start - 1
            container, number = open_video(self._probe.path, max_pixels=self._limits.max_frame_pixels, threads=threads)
            with container:
                for item in self._pass(container, number, entry, start):
                    if item is None:
                        yield None
                        continue
                    index, frame = item
                    if not entered and index > start:
                        break
                    entered = True
                    if index > last:
                        if index >= end:
                            return
                        last = index
                        yield index, frame
                        if index == end - 1:
                            return
            if entered:
                return

    def _entries(self, start: int) -> Iterator[int | None]:
        """Key frames to enter at, as timestamps, nearest first; None is the beginning of the file."""
        if self._probe.timed:
            keys = self._probe.keys[self._probe.keys <= start]
            for back in (1, 2, 9):
                if len(keys) >= back and keys[-back] > 0:
                    yield int(self._probe.pts[keys[-back]])
        yield None

    def _pass(
        self, container: Any, number: int, entry: int | None, start: int
    ) -> Iterator[tuple[int, VideoFrame] | None]:
        stream = container.streams[number]
        if entry is not None:
            try:
                container.seek(entry, stream=stream, backward=True)
            except (av.FFmpegError, OSError):
                return
        counted = 0
        for packet in self._packets(container, stream, entry):
            yield None
            try:
                decoded = stream.codec_context.decode(packet)
            except (av.FFmpegError, OSError, ValueError, EOFError) as error:
                if stream.codec_context.thread_count > 1:
                    raise _Faulty from None
                if not self._probe.timed:
                    self._raise_truncated(f"{reason(error)}, and its frames have no timestamps")
                continue
            for frame in decoded:
                index = counted if not self._probe.timed else self._index(frame)
                counted += 1
                if index is None:
                    continue
                if (frame.width, frame.height) != (self._probe.coded_width, self._probe.coded_height):
                    if index >= start:
                        self._raise_size(index, frame)
                    continue
                yield index, frame

    def _packets(self, container: Any, stream: Any, entry: int | None) -> Iterator[Any]:
        """The stream's packets and the final None; nothing where a seek did not land on a key frame by `entry`."""
        landed = entry is None
        try:
            for packet in demux(container, stream):
                if packet.size == 0:
                    continue
                if not landed:
                    if not packet.is_keyframe or packet.pts is None or entry is None or packet.pts > entry:
                        return
                    landed = True
                yield packet
        except (av.FFmpegError, OSError) as error:
            yield None
            if self._probe.cut_off is None:
                self._raise_truncated(reason(error))
            return
        yield None

    def _index(self, frame: VideoFrame) -> int | None:
        if frame.pts is None:
            return None
        place = int(np.searchsorted(self._probe.pts, frame.pts))
        return place if place < len(self._probe.pts) and self._probe.pts[place] == frame.pts else None

    def _upright_rgb(self, frame: VideoFrame, into: NDArray[np.uint8]) -> None:
        plane: Any = _reformatter().reformat(frame, format="rgb24").planes[0]
        rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width * 3]
        image = rows.reshape(plane.height, plane.width, 3)
        if self._probe.quarter_turns:
            cv2.rotate(image, _ROTATIONS[self._probe.quarter_turns], dst=into)
        else:
            into[...] = image

    def _raise_truncated(self, why: str) -> None:
        message = f"{self._probe.location} ends early: {why}"
        raise VideoError("decode", "Truncated", message, keep_rows=True) from None

    def _raise_size(self, index: int, frame: VideoFrame) -> None:
        message = (
            f"{self._probe.location}: frame {index} is {frame.width}x{frame.height}, those before are "
            f"{self._probe.coded_width}x{self._probe.coded_height}"
        )
        raise VideoError("decode", "SizeChanged", message, keep_rows=True)
