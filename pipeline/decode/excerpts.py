"""Excerpts of a video: small files cut from it at key frames.

decord reads ahead, without limit, to the end of the file that it is given. A cut is made before a key frame after which
nothing leans on what came earlier: all frames before it in decoding order are before it in presentation order too. The
packets are copied as they are, never encoded anew.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

import av
import numpy as np
from av.packet import Packet
from numpy.typing import NDArray

from model.video.container import demux, open_stream, rgb
from model.video.index import VideoIndex

LARGEST = 384 << 20
"""An excerpt has at most this many bytes of decoded frames: what decord may hold at worst."""

USUAL = 256 << 20
"""Short groups of pictures are put together to excerpts of about this size."""

LARGEST_FILE = 64 << 20
"""An excerpt has at most this many bytes of packets."""

FORMATS = ("mov", "matroska")
"""Containers that excerpts are tried in: either has codecs that the other lacks."""

SPACING = 12
"""Where every frame is a key frame, one in so many is compared."""


def plan_excerpts(index: VideoIndex, start: int, end: int) -> list[tuple[int, int]] | None:
    """Half-open ranges of frames to cut, the first of which has `start`; None where an excerpt would be too large."""
    timeline = index.timeline
    if timeline.stamps is None or index.cut_off is not None or not len(timeline.cuts) or timeline.cuts[0] != 0:
        return None
    frame_bytes = index.width * index.height * 3
    edges = [*timeline.cuts.tolist(), index.frames]
    packed = np.concatenate([[0], np.cumsum(timeline.sizes)])
    first = int(np.searchsorted(timeline.cuts, start, side="right")) - 1
    plan: list[tuple[int, int]] = []
    for begin, stop in zip(edges[first:], edges[first + 1 :], strict=False):
        if begin >= end:
            break
        if (stop - begin) * frame_bytes > LARGEST or packed[stop] - packed[begin] > LARGEST_FILE:
            return None
        if plan:
            joined = plan[-1][0], stop
            small = (stop - joined[0]) * frame_bytes <= USUAL
            if small and packed[stop] - packed[joined[0]] <= LARGEST_FILE:
                plan[-1] = joined
                continue
        plan.append((begin, stop))
    return plan


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Some groups of pictures.

    Attributes:
        packets: in the order of decoding, up to the one after which all frames that are wanted can be shown.
        frames: int64 [n], sorted: indexes of their frames.
        keys: key frames by their index.
    """

    packets: list[Packet]
    frames: NDArray[np.int64]
    keys: dict[int, bytes]


class ExcerptReader:
    """Reads the planned excerpts of a video, one after the other, and decodes single key frames to compare with.

    Iterating raises `av.FFmpegError` where the file cannot be read, and ends early where a cut is not found again.
    """

    def __init__(self, index: VideoIndex, plan: list[tuple[int, int]], end: int) -> None:
        """Frames from `end` on are not wanted."""
        assert index.timeline.stamps is not None
        self._index = index
        self._stamps = index.timeline.stamps
        self._plan = plan
        self._end = end
        self._container, self._stream = open_stream(index.path, max_pixels=index.max_pixels, probe=False)

    def __iter__(self) -> Iterator[Excerpt]:
        beginning = self._plan[0][0]
        if beginning > 0:
            self._container.seek(int(self._stamps[beginning]), stream=self._stream, backward=True)
        packets = demux(self._container, self._stream)
        opening = self._find(packets, int(self._stamps[beginning]))
        for start, end in self._plan:
            if opening is None:
                return
            until = int(self._stamps[end]) if end < self._index.frames else None
            taken = [opening]
            opening = None
            for packet in packets:
                if packet.pts == until and packet.is_keyframe:
                    opening = packet
                    break
                taken.append(packet)
            frames = np.searchsorted(self._stamps, [start if p.pts is None else p.pts for p in taken])
            if not np.array_equal(np.sort(frames), np.arange(start, end)):  # some share a timestamp or have none
                yield Excerpt(taken, np.arange(start, end), self._keys(taken))
                continue
            needed = int(np.flatnonzero(frames < self._end)[-1]) + 1
            yield Excerpt(taken[:needed], np.sort(frames[:needed]), self._keys(taken[:needed]))

    def file(self, excerpt: Excerpt, form: str) -> io.BytesIO:
        """The excerpt as a file of the format, from its beginning.

        Raises `av.FFmpegError` or `ValueError` where it cannot hold the codec.
        """
        memory = io.BytesIO()
        with av.open(memory, "w", format=form) as container:
            stream = container.add_stream_from_template(self._stream, opaque=True)
            for packet in excerpt.packets:
                packet.stream = stream
                container.mux(packet)
        memory.seek(0)
        return memory

    def key_frame(self, excerpt: Excerpt, index: int) -> NDArray[np.uint8] | None:
        """Key frame `index`, uint8 [height, width, 3] RGB upright; None where it does not decode on its own."""
        if index == 0 and (first := self._index.first_frame) is not None and first.pts == self._stamps[0]:
            return self._index.orientation.upright(rgb(first))
        context = self._stream.codec_context
        try:
            frames = [*context.decode(Packet(excerpt.keys[index])), *context.decode(None)]
        except (av.FFmpegError, OSError, ValueError, EOFError):
            frames = []
        context.flush_buffers()
        return self._index.orientation.upright(rgb(frames[0])) if len(frames) == 1 else None

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    @staticmethod
    def _find(packets: Iterator[Packet], pts: int) -> Packet | None:
        return next((p for p in packets if p.pts == pts and p.is_keyframe), None)

    def _keys(self, packets: list[Packet]) -> dict[int, bytes]:
        """Key frames to compare: all of them, as a frame may change its size there, but not where all are such."""
        keys: dict[int, bytes] = {}
        last = -SPACING
        dense = len(self._index.timeline.keys) * SPACING > self._index.frames
        for packet in packets:
            if packet.is_keyframe and packet.pts is not None:
                index = int(np.searchsorted(self._stamps, packet.pts))
                if not dense or index - last >= SPACING:
                    keys[index] = bytes(packet)
                    last = index
        return keys
