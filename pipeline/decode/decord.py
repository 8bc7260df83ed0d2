"""The decord decoder: fast where it is right, and held to PyAV all along.

decord reads ahead without limit, so it gets the video in small pieces (`pipeline.decode.pieces`). It can give
wrong frames without a word (a shifted index after pictures that do not decode, the last good frame again, other
colours), so it must agree with PyAV to the bit on the range's first key frame, is compared again at every key
frame, and must give as many frames as a piece has packets. A wrong frame thus never outlives the clip: the clip is
started over (`DecordWrong`).
"""

from __future__ import annotations

import os
import tempfile
from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import replace
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from pipeline.decode.decord_process import DecordGone, DecordProcess
from pipeline.decode.events import DecodeLimits, VideoInfo
from pipeline.decode.pieces import FORMATS, Piece, PieceReader, can_share_files, plan_pieces
from pipeline.decode.probe import Probe
from pipeline.decode.protocol import Block


class DecordWrong(Exception):
    """decord gave another frame than PyAV: nothing it gave in this range can be trusted."""


def suits(probe: Probe, start: int, end: int, chunk_bytes: int) -> bool:
    """Whether decord is worth asking: the range can be cut into pieces, and a frame fits a chunk."""
    frame_bytes = probe.info.width * probe.info.height * 3
    return frame_bytes <= chunk_bytes and can_share_files() and plan_pieces(probe, start, end) is not None


class DecordDecoder:
    """See `Decoder`. decord runs in `process`, which outlives the decoder and must be ours alone meanwhile.

    Attributes:
        last: index and a copy of the last frame handed out, None before the first.
    """

    def __init__(
        self,
        probe: Probe,
        process: DecordProcess,
        *,
        threads: int = 1,
        patience: float = 40.0,
        limits: DecodeLimits | None = None,
    ) -> None:
        self.info: VideoInfo = replace(probe.info, decoder="decord")
        self.corrupt = 0
        self.last: tuple[int, NDArray[np.uint8]] | None = None
        self._probe = probe
        self._process = process
        self._threads = threads
        self._patience = patience
        self._limits = limits or DecodeLimits()
        self._forms = list(FORMATS)
        self._idle = True

    def chunks(self, start: int, end: int, stride: int) -> Iterator[Block | None]:
        """See `Decoder.chunks`. The range must be one that `suits`.

        Raises:
            DecordGone: no further frame comes; those handed out were not all compared (see `last`).
            DecordWrong: some frame handed out was wrong; raised before the first where decord does not agree.
        """
        plan = plan_pieces(self._probe, start, end)
        if plan is None:
            raise DecordGone("the video cannot be cut into pieces")
        self._idle = False
        reader = PieceReader(self._probe, plan, limits=self._limits)
        wanted = np.arange(start, end, stride, dtype=np.int64)
        pieces = 0
        try:
            for piece in reader:
                pieces += 1
                inside = wanted[(wanted >= piece.start) & (wanted < piece.end)]
                if len(inside):
                    yield from self._piece(reader, piece, inside)
            if pieces < len(plan):
                raise DecordGone("its next piece was not found")
            self._process.send({"close": True})
            yield from self._answer()
            self._idle = True
        except (av.FFmpegError, OSError) as error:
            raise DecordGone(f"its next piece could not be read ({type(error).__name__})") from None
        finally:
            reader.close()

    def close(self) -> None:
        """Leave the process clean for the next video: end it where it is in the midst of something."""
        if not self._idle:
            self._process.close()

    def _piece(self, reader: PieceReader, piece: Piece, wanted: NDArray[np.int64]) -> Iterator[Block | None]:
        """The wanted frames of a piece, all of whose frames are decoded, which proves that none is missing."""
        first = self.last is None
        # The very first frame of the first piece is a key frame: fetched to compare, wanted or not.
        fetched = np.union1d(wanted, [piece.start]) if first else wanted
        with tempfile.TemporaryFile(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as file:
            yield from self._open(reader, piece, file)
            for block in self._blocks(piece.start, fetched):
                if block is not None:
                    self._compare(reader, piece, block)
                    if fetched is not wanted and block.frame_index[0] not in wanted:
                        block = Block(block.frames[1:], block.frame_index[1:], 0)
                    if not len(block.frame_index):
                        continue
                    self.last = (int(block.frame_index[-1]), block.frames[-1].copy())
                yield block
            self._process.send({"skip": piece.end - 1 - int(fetched[-1])})
            yield from self._answer()

    def _open(self, reader: PieceReader, piece: Piece, file: Any) -> Iterator[None]:
        """Have decord open the piece, in the first container that holds it."""
        while True:
            try:
                file.seek(0)
                file.write(reader.file(piece, self._forms[0]))
                file.truncate()
                file.flush()
                path = f"/proc/{os.getpid()}/fd/{file.fileno()}"
                shape = (self.info.height, self.info.width, 3)
                self._process.send({"open": path, "threads": self._threads, "shape": shape})
                frames = (yield from self._answer())["frames"]
                if frames == piece.end - piece.start:
                    return
                problem = f"it counts {frames} frames, the container has {piece.end - piece.start}"
            except (av.FFmpegError, ValueError, DecordGone) as error:
                problem = str(error)
                self._process.close()
            if self.last is not None or len(self._forms) == 1:
                raise DecordGone(problem)
            self._forms.pop(0)

    def _blocks(self, start: int, indexes: NDArray[np.int64]) -> Iterator[Block | None]:
        """Two halves of the shared memory in turn: one is filled while the other is read."""
        frame_bytes = self.info.height * self.info.width * 3
        half = self._process.shared_bytes // 2
        gaps = np.diff(indexes, prepend=start - 1) - 1
        edges = range(half // frame_bytes, len(indexes), half // frame_bytes)
        parts = deque(zip(np.split(indexes, edges), np.split(gaps, edges), strict=True))
        asked: deque[tuple[NDArray[np.int64], int]] = deque()
        slot = 0
        while parts or asked:
            while parts and len(asked) < 2:
                part, skips = parts.popleft()
                self._process.send({"fill": skips.tolist(), "at": slot * half})
                asked.append((part, slot * half))
                slot = 1 - slot
            yield from self._answer()
            part, at = asked.popleft()
            data = self._process.shared()[at : at + len(part) * frame_bytes]
            yield Block(data.reshape(len(part), self.info.height, self.info.width, 3), part, 0)

    def _compare(self, reader: PieceReader, piece: Piece, block: Block) -> None:
        for place, index in enumerate(block.frame_index.tolist()):
            if index in piece.keys:
                expected = reader.key_frame(piece, index)
                if expected is None and self.last is not None:
                    continue
                if expected is None or not np.array_equal(block.frames[place], expected):
                    raise DecordWrong(f"its frame {index} is not PyAV's")

    def _answer(self) -> Generator[None, None, dict[str, Any]]:
        return (yield from self._process.answer(self._patience))


__all__ = ["DecordDecoder", "DecordGone", "DecordWrong", "suits"]
