"""A video cut at key frames into small files: decord reads ahead, without limit, to the end of the file it is given.

A cut is made before a key frame after which nothing leans on what came earlier: all frames before it in decoding order
are before it in presentation order too. The packets are copied as they are, never encoded anew.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from av.packet import Packet
from numpy.typing import NDArray

from pipeline.decode.events import DecodeLimits
from pipeline.decode.probe import Probe, demux, open_video

LARGEST = 768 << 20
"""A piece has at most this many bytes of decoded frames: what decord may hold at worst."""

USUAL = 256 << 20
"""Short groups of pictures are put together to pieces of about this size."""

LARGEST_FILE = 64 << 20
"""A piece has at most this many bytes of packets."""

FORMATS = ("mov", "matroska")
"""Containers that pieces are tried in: either has codecs that the other lacks."""

SPACING = 12
"""Where every frame is a key frame, one in so many is compared."""


def plan_pieces(probe: Probe, start: int, end: int) -> list[tuple[int, int]] | None:
    """Half-open ranges of frames to cut, the first of which has `start`; None where a piece would be too large."""
    if not probe.timed or probe.cut_off is not None or not len(probe.cuts) or probe.cuts[0] != 0:
        return None
    frame_bytes = probe.info.width * probe.info.height * 3
    edges = [*probe.cuts.tolist(), probe.info.frames]
    packed = np.concatenate([[0], np.cumsum(probe.sizes)])
    first = int(np.searchsorted(probe.cuts, start, side="right")) - 1
    pieces: list[tuple[int, int]] = []
    for begin, stop in zip(edges[first:], edges[first + 1 :], strict=False):
        if begin >= end:
            break
        if (stop - begin) * frame_bytes > LARGEST or packed[stop] - packed[begin] > LARGEST_FILE:
            return None
        if pieces:
            joined = pieces[-1][0], stop
            small = (stop - joined[0]) * frame_bytes <= USUAL
            if small and packed[stop] - packed[joined[0]] <= LARGEST_FILE:
                pieces[-1] = joined
                continue
        pieces.append((begin, stop))
    return pieces


@dataclass(frozen=True, slots=True)
class Piece:
    """Some groups of pictures: frames [start, end), their packets in decoding order, and their key frames by index."""

    start: int
    end: int
    packets: list[Packet]
    keys: dict[int, bytes]


class PieceReader:
    """Reads the planned pieces of a video, one after the other, and decodes single key frames to compare with.

    Iterating raises `av.FFmpegError` where the file cannot be read, and ends early where a cut is not found again.
    """

    def __init__(self, probe: Probe, plan: list[tuple[int, int]], *, limits: DecodeLimits) -> None:
        self._probe = probe
        self._plan = plan
        self._container, number = open_video(probe.path, max_pixels=limits.max_frame_pixels)
        self._stream: Any = self._container.streams[number]

    def __iter__(self) -> Iterator[Piece]:
        if self._plan[0][0] > 0:
            self._container.seek(int(self._probe.pts[self._plan[0][0]]), stream=self._stream, backward=True)
        packets = (p for p in demux(self._container, self._stream) if p.size and not p.is_discard)
        opening = self._find(packets, int(self._probe.pts[self._plan[0][0]]))
        for start, end in self._plan:
            if opening is None:
                return
            until = int(self._probe.pts[end]) if end < self._probe.info.frames else None
            taken = [opening]
            opening = None
            for packet in packets:
                if packet.pts == until and packet.is_keyframe:
                    opening = packet
                    break
                taken.append(packet)
            yield Piece(start, end, taken, self._keys(taken))

    def file(self, piece: Piece, form: str) -> bytes:
        """The piece as a file of the format. Raises `av.FFmpegError` or `ValueError` where it cannot hold the codec."""
        memory = io.BytesIO()
        with av.open(memory, "w", format=form) as container:
            stream = container.add_stream_from_template(self._stream, opaque=True)
            for packet in piece.packets:
                packet.stream = stream
                container.mux(packet)
        return memory.getvalue()

    def key_frame(self, piece: Piece, index: int) -> NDArray[np.uint8] | None:
        """Key frame `index`, uint8 [height, width, 3] RGB upright; None where it does not decode on its own."""
        context = self._stream.codec_context
        try:
            frames = [*context.decode(Packet(piece.keys[index])), *context.decode(None)]
        except (av.FFmpegError, OSError, ValueError, EOFError):
            frames = []
        context.flush_buffers()
        if len(frames) != 1:
            return None
        return np.rot90(frames[0].to_ndarray(format="rgb24"), self._probe.quarter_turns)

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
        dense = len(self._probe.keys) * SPACING > self._probe.info.frames
        for packet in packets:
            if packet.is_keyframe and packet.pts is not None:
                index = int(np.searchsorted(self._probe.pts, packet.pts))
                if not dense or index - last >= SPACING:
                    keys[index] = bytes(packet)
                    last = index
        return keys


def can_share_files() -> bool:
    """Whether another process can open a file of ours that has no name."""
    return os.path.isdir("/proc/self/fd")
