"""The decord decoder: fast where it is right, and held to PyAV all along.

decord can give wrong frames without a word (another stream, a shifted index after pictures that do not decode, the
last good frame again). It is used where it agrees with the probe on count and size and with PyAV, to the bit, on the
first frame of the range. On the way every key frame is compared, and at the end the number of frames (at the end of
the file) or the last frame (before it). So a wrong frame never outlives the clip: `DecordWrong` starts it over.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.decode.decord_process import DecordGone, DecordProcess
from pipeline.decode.events import DecodeLimits, VideoInfo
from pipeline.decode.probe import Probe
from pipeline.decode.protocol import Block
from pipeline.decode.pyav import frame_at
from pipeline.decode.witness import KeyFrames


class DecordWrong(Exception):
    """decord gave another frame than PyAV: nothing it gave in this range can be trusted."""


def suits(probe: Probe, chunk_bytes: int) -> bool:
    """Whether decord is worth asking: timestamps on every frame, a whole file, frames that fit a chunk."""
    frame_bytes = probe.info.width * probe.info.height * 3
    return probe.timed and probe.cut_off is None and frame_bytes <= chunk_bytes


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
        self._idle = True

    def chunks(self, start: int, end: int, stride: int) -> Iterator[Block | None]:
        """See `Decoder.chunks`.

        Raises:
            DecordGone: no further frame comes; those handed out were not all compared (see `last`).
            DecordWrong: some frame handed out was wrong; raised before the first where decord does not agree.
        """
        self._idle = False
        keys = KeyFrames(self._probe, start, limits=self._limits)
        try:
            yield from self._open(start)
            for block in self._blocks(start, end, stride):
                if block is not None:
                    self._compare(block, keys)
                    self.last = (int(block.frame_index[-1]), block.frames[-1].copy())
                yield block
            yield from self._finish(end)
            self._process.send({"close": True})
            yield from self._process.answer(self._patience)
            self._idle = True
        finally:
            keys.close()

    def close(self) -> None:
        """Leave the process clean for the next video: end it where it is in the midst of something."""
        if not self._idle:
            self._process.close()

    def _open(self, start: int) -> Iterator[None]:
        shape = (self.info.height, self.info.width, 3)
        path = f"file:{self._probe.path}"
        self._process.send({"open": path, "threads": self._threads, "shape": shape})
        answer = yield from self._answer()
        if answer["frames"] != self.info.frames:
            raise DecordWrong(f"it counts {answer['frames']} frames, the container has {self.info.frames}")
        if start:
            self._process.send({"seek": start})
            yield from self._answer()

    def _blocks(self, start: int, end: int, stride: int) -> Iterator[Block | None]:
        """Two halves of the shared memory in turn: one is filled while the other is read."""
        frame_bytes = self.info.height * self.info.width * 3
        half = self._process.shared_bytes // 2
        indexes = np.arange(start, end, stride, dtype=np.int64)
        parts = deque(np.split(indexes, range(half // frame_bytes, len(indexes), half // frame_bytes)))
        asked: deque[tuple[NDArray[np.int64], int]] = deque()
        slot = 0
        while parts or asked:
            while parts and len(asked) < 2:
                part = parts.popleft()
                self._process.send({"fill": len(part), "at": slot * half, "skip": stride - 1})
                asked.append((part, slot * half))
                slot = 1 - slot
            yield from self._answer()
            part, at = asked.popleft()
            data = self._process.shared()[at : at + len(part) * frame_bytes]
            yield Block(data.reshape(len(part), self.info.height, self.info.width, 3), part, 0)

    def _compare(self, block: Block, keys: KeyFrames) -> None:
        if self.last is None:
            index = int(block.frame_index[0])
            expected = frame_at(self._probe, index, limits=self._limits)
            self._check(index, block.frames[0], expected, certain=True)
        for index in keys.due(block.frame_index):
            place = int(np.searchsorted(block.frame_index, index))
            self._check(index, block.frames[place], keys.frame(index), certain=False)

    def _finish(self, end: int) -> Iterator[None]:
        assert self.last is not None
        index, frame = self.last
        if end == self.info.frames:
            # All frames of the file must come: decord's repeated frames, an error by fault_tol, come at the end.
            if end - 1 > index:
                self._process.send({"skip": end - 1 - index})
                yield from self._answer()
        else:
            self._check(index, frame, frame_at(self._probe, index, limits=self._limits), certain=True)

    def _check(
        self, index: int, frame: NDArray[np.uint8], expected: NDArray[np.uint8] | None, *, certain: bool
    ) -> None:
        if expected is None and not certain:
            return
        if expected is None or not np.array_equal(frame, expected):
            raise DecordWrong(f"its frame {index} is not PyAV's")

    def _answer(self) -> Generator[None, None, dict[str, Any]]:
        return (yield from self._process.answer(self._patience))


__all__ = ["DecordDecoder", "DecordGone", "DecordWrong", "suits"]
