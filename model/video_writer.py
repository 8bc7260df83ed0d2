"""Write frames as an H.264 video that plays everywhere."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np


class VideoWriter:
    """H.264 in MP4: 4:2:0 pixels, the index in front so that a browser can start at once.

    Use as a context manager; the file appears when the block ends without an error and has at least one frame.
    Without `pts_s` frames follow each other at the constant rate; with it each frame keeps its distance to the first
    one, so that gaps stay gaps. An odd width or height loses its last column or row, which 4:2:0 cannot hold.

    Args:
        path: the file to write; its folder is made.
        fps: frames a second, the nominal rate of the file.
        quality: x264's constant rate factor; 18 is visually lossless, 28 small.
    """

    TIME_BASE = Fraction(1, 90_000)

    def __init__(self, path: Path, fps: float, *, quality: int = 20) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.rate = Fraction(fps).limit_denominator(1001 * 1000)
        self.quality = quality
        self.frames = 0
        self._part = path.with_name(f".{path.name}.part")
        self._container = av.open(str(self._part), "w", format="mp4", options={"movflags": "+faststart"})
        self._stream: av.VideoStream | None = None
        self._first_s = Fraction(0)

    def write(self, frame: np.ndarray, pts_s: float | None = None) -> None:
        """Append a frame.

        Args:
            frame: uint8 [H, W, 3], RGB; the size of the first one is the video's.
            pts_s: presentation time in seconds, larger than the one before; given for all frames or for none.
        """
        height, width = frame.shape[0] // 2 * 2, frame.shape[1] // 2 * 2
        if self._stream is None:
            self._stream = self._open_stream(width, height)
            self._first_s = Fraction(pts_s or 0)
        time_s = Fraction(self.frames) / self.rate if pts_s is None else Fraction(pts_s) - self._first_s
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame[:height, :width]), format="rgb24")
        picture.pts = round(time_s / self.TIME_BASE)
        picture.time_base = self.TIME_BASE
        self._container.mux(self._stream.encode(picture))
        self.frames += 1

    def _open_stream(self, width: int, height: int) -> av.VideoStream:
        # One thread: the same bytes whatever the number of cores.
        options = {"crf": str(self.quality), "preset": "veryfast", "threads": "1"}
        stream = self._container.add_stream("libx264", rate=self.rate, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.time_base = stream.codec_context.time_base = self.TIME_BASE
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
