"""Write frames as an H.264 video that plays everywhere."""

from __future__ import annotations

import math
import os
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

BT709 = 1
"""FFmpeg's number for the primaries and the transfer of BT.709."""
_ROUNDING_S = Fraction(1, 1000)


class VideoWriter:
    """H.264 in MP4: 4:2:0 pixels, colours marked as BT.709, the index in front so that a browser can start at once.

    Use as a context manager; the file appears when the block ends without an error and has at least one frame.
    Without `pts_s` frames follow each other at the constant rate; with it each frame keeps its distance to the first
    one, so that gaps stay gaps; one that is off the constant rate by a millisecond or less, as some formats round, is
    put on it. 4:2:0 holds even sizes only: an odd width or height gets its last column or row twice.

    Args:
        path: the file to write; its folder is made.
        fps: frames a second, the nominal rate of the file.
        quality: x264's constant rate factor; 18 is visually lossless, 28 small.
        group: most frames from one key frame to the next.
    """

    def __init__(self, path: Path, fps: float, *, quality: int = 20, group: int = 250) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.rate = Fraction(fps).limit_denominator(1001)
        # Finer than 1/90000 s, and a frame at the constant rate is a whole number of ticks.
        self.time_base = 1 / (self.rate.numerator * Fraction(math.ceil(90_000 / self.rate.numerator)))
        self.quality = quality
        self.group = group
        self.frames = 0
        self._part = path.with_name(f".{path.name}.part")
        self._container = av.open(str(self._part), "w", format="mp4", options={"movflags": "+faststart"})
        self._stream: av.VideoStream | None = None
        self._first_s = Fraction(0)
        self._last_tick = -1

    def write(self, frame: np.ndarray, pts_s: float | None = None) -> None:
        """Append a frame.

        Args:
            frame: uint8 [H, W, 3], RGB; the size of the first one is the video's.
            pts_s: presentation time in seconds, larger than the one before; given for all frames or for none.
        """
        odd_height, odd_width = frame.shape[0] % 2, frame.shape[1] % 2
        even = np.pad(frame, ((0, odd_height), (0, odd_width), (0, 0)), "edge") if odd_height or odd_width else frame
        if self._stream is None:
            self._stream = self._open_stream(even.shape[1], even.shape[0])
            self._first_s = Fraction(pts_s or 0)
        time_s = Fraction(self.frames) / self.rate if pts_s is None else Fraction(pts_s) - self._first_s
        colours = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
        picture = colours.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG)
        picture.pts = self._last_tick = self._tick(time_s)
        picture.time_base = self.time_base
        self._container.mux(self._stream.encode(picture))
        self.frames += 1

    def _tick(self, time_s: Fraction) -> int:
        at_rate = round(time_s * self.rate) / self.rate
        near = abs(at_rate - time_s) <= min(_ROUNDING_S, 1 / (4 * self.rate))
        tick = round((at_rate if near else time_s) / self.time_base)
        return tick if tick > self._last_tick else round(time_s / self.time_base)

    def _open_stream(self, width: int, height: int) -> av.VideoStream:
        # One thread: the same bytes whatever the number of cores.
        options = {"crf": str(self.quality), "preset": "veryfast", "threads": "1", "g": str(self.group)}
        stream = self._container.add_stream("libx264", rate=self.rate, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.time_base = stream.codec_context.time_base = self.time_base
        # Unmarked, players guess by the picture's size, and small and large ones differ in tint.
        stream.codec_context.colorspace, stream.codec_context.color_range = Colorspace.ITU709, ColorRange.MPEG
        stream.codec_context.color_primaries = stream.codec_context.color_trc = BT709
        return stream

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        whole = kind is None and self._stream is not None
        try:
            if whole and self._stream is not None:
                self._container.mux(self._stream.encode(None))
            self._container.close()
            if whole:
                os.replace(self._part, self.path)
        finally:
            self._part.unlink(missing_ok=True)
