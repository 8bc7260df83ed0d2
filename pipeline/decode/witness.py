"""Single key frames by PyAV, in passing: cheap evidence that another decoder is where it says it is."""

from __future__ import annotations

from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from pipeline.decode.events import DecodeLimits
from pipeline.decode.probe import Probe, open_video

SPACING = 12
"""Where every frame is a key frame, one in so many is compared."""


class KeyFrames:
    """Decodes key frames on their own, one packet each, in increasing order of index."""

    def __init__(self, probe: Probe, start: int, *, limits: DecodeLimits) -> None:
        self._probe = probe
        self._container, number = open_video(probe.path, max_pixels=limits.max_frame_pixels)
        stream: Any = self._container.streams[number]
        self._context = stream.codec_context
        before = probe.keys[probe.keys <= start]
        if len(before) and before[-1] > 0:
            self._container.seek(int(probe.pts[before[-1]]), stream=stream, backward=True)
        self._packets = self._container.demux(stream)
        self._last = -SPACING

    def due(self, indexes: NDArray[np.int64]) -> list[int]:
        """Those of `indexes` that are key frames to compare."""
        chosen = []
        for index in np.intersect1d(indexes, self._probe.keys, assume_unique=True):
            if index - self._last >= SPACING or len(self._probe.keys) * SPACING < len(self._probe.pts):
                self._last = int(index)
                chosen.append(self._last)
        return chosen

    def frame(self, index: int) -> NDArray[np.uint8] | None:
        """Key frame `index`, uint8 [height, width, 3] RGB upright; None where it does not decode on its own."""
        try:
            for packet in self._packets:
                if packet.size and packet.pts == self._probe.pts[index]:
                    frames = [*self._context.decode(packet), *self._context.decode(None)]
                    self._context.flush_buffers()
                    if len(frames) == 1:
                        return np.rot90(frames[0].to_ndarray(format="rgb24"), self._probe.quarter_turns)
                    return None
        except (av.FFmpegError, OSError, ValueError, EOFError):
            self._context.flush_buffers()
        return None

    def close(self) -> None:
        """Close the file."""
        self._container.close()
