"""Read the frames of a local video file by their number, with PyAV.

A frame's number is its place among the timestamps of the file's packets, so a frame that cannot be decoded is left out
and shifts nothing. `pipeline/decode` does the same for the files of the world, with limits, time-outs and a second
decoder.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray


class VideoError(Exception):
    """The file cannot be read as a video; the message names it and says why."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A decoded frame: its number, its time in seconds after the first one, and uint8 [H, W, 3] RGB, upright."""

    index: int
    pts_s: float
    image: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Video:
    """A video file; made by `open_video`.

    Attributes:
        path: the file.
        width, height: pixels of the upright frame.
        fps: average frames a second, 0 where the file does not say.
        frames: frames that it should have, counted in packets.
    """

    path: Path
    width: int
    height: int
    fps: float
    frames: int
    _pts: NDArray[np.int64] = field(repr=False)
    _keys: NDArray[np.int64] = field(repr=False)
    _tick: Fraction = field(repr=False)
    _timed: bool = field(repr=False)

    def read(self, start: int = 0, end: int | None = None) -> Iterator[Frame]:
        """Decode frames start to end (half-open), one at a time.

        Raises:
            VideoError: the file ends early or a frame changes size; frames before that are right.
        """
        end = self.frames if end is None else min(end, self.frames)
        container, stream = _open(self.path)
        with container:
            keys = self._keys[self._keys <= start]
            if self._timed and len(keys) > 1:
                container.seek(int(self._pts[keys[-2]]), stream=stream, backward=True)
            counted = 0
            for picture in _decode(container, stream, self.path):
                index = self._index(picture.pts) if self._timed else counted
                counted += 1
                if index is None or index < start:
                    continue
                if index >= end:
                    return
                image = np.rot90(picture.to_ndarray(format="rgb24"), round(picture.rotation / 90) % 4)
                if image.shape[:2] != (self.height, self.width):
                    found = f"{image.shape[1]}x{image.shape[0]}"
                    raise VideoError(f"{self.path}: frame {index} is {found}, the first {self.width}x{self.height}")
                seconds = float((int(self._pts[index]) - int(self._pts[0])) * self._tick)
                yield Frame(index, seconds, np.ascontiguousarray(image))

    def _index(self, pts: int | None) -> int | None:
        if pts is None:
            return None
        place = int(np.searchsorted(self._pts, pts))
        return place if place < len(self._pts) and self._pts[place] == pts else None


def open_video(path: str | os.PathLike[str]) -> Video:
    """Look through a local video file without decoding more than its first frame.

    Raises:
        VideoError: no such file, no video, or nothing in it decodes.
    """
    path = Path(path)
    container, stream = _open(path)
    with container:
        first, stamps = None, list[tuple[int | None, bool]]()
        try:
            for packet in container.demux(stream):
                if first is None:
                    first = next(iter(_tried(stream, packet if packet.size else None)), None)
                if packet.size and not packet.is_discard:
                    stamps.append((packet.pts if packet.pts is not None else packet.dts, packet.is_keyframe))
        except (av.FFmpegError, OSError) as error:
            if not stamps:
                raise VideoError(f"{path} cannot be read: {error}") from None
        if first is None:
            raise VideoError(f"{path}: none of its frames can be decoded")
        begin = next((i for i, (_, key) in enumerate(stamps) if key), 0)
        known = [(pts, key) for pts, key in stamps[begin:] if pts is not None]
        timed = len(known) == len(stamps) - begin and len({pts for pts, _ in known}) == len(known)
        rate = stream.average_rate or stream.guessed_rate
        if timed:
            least = min(known[0][0], known[0][0] if first.pts is None else first.pts)
            known = sorted((pts, key) for pts, key in known if pts >= least)
            pts = np.array([pts for pts, _ in known], np.int64)
            keys = np.flatnonzero([key for _, key in known])
        else:
            pts, keys = np.arange(len(stamps)), np.empty(0, np.int64)
        tick = stream.time_base if timed else 1 / Fraction(rate or 25)
        width, height = first.width, first.height
        if round(first.rotation / 90) % 2:
            width, height = height, width
        return Video(path, width, height, float(rate or 0), len(pts), pts, keys, tick, timed)


def _open(path: Path) -> tuple[Any, Any]:
    try:
        container = av.open(f"file:{os.path.abspath(path)}", options={"protocol_whitelist": "file"})
    except FileNotFoundError:
        raise VideoError(f"{path}: no such file") from None
    except (av.FFmpegError, OSError) as error:
        reason = getattr(error, "strerror", None) or error
        raise VideoError(f"{path} is not a video that FFmpeg can open: {reason}") from None
    try:
        stream: Any = choose_stream(container)
    except LookupError:
        stream = None
    if stream is None or stream.codec_context is None:
        container.close()
        raise VideoError(f"{path} has no video stream that can be decoded")
    stream.codec_context.thread_type = "AUTO"
    return container, stream


def choose_stream(container: InputContainer) -> VideoStream:
    """The video stream of a file that is meant: the first that is marked default, else FFmpeg's best; no cover picture.

    Raises:
        LookupError: there is none.
    """
    streams = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
    if not streams:
        raise LookupError("no video stream")
    marked = [s for s in streams if s.disposition & av.stream.Disposition.default]
    best = container.streams.best("video")
    return marked[0] if marked else best if best in streams else streams[0]


def _decode(container: Any, stream: Any, path: Path) -> Iterator[Any]:
    """The frames that decode, in presentation order."""
    try:
        for packet in container.demux(stream):
            if packet.size:
                yield from _tried(stream, packet)
    except (av.FFmpegError, OSError) as error:
        yield from _tried(stream, None)
        raise VideoError(f"{path} ends early: {getattr(error, 'strerror', None) or error}") from None
    yield from _tried(stream, None)


def _tried(stream: Any, packet: Any) -> list[Any]:
    try:
        return stream.codec_context.decode(packet)
    except (av.FFmpegError, OSError, ValueError, EOFError):
        return []
