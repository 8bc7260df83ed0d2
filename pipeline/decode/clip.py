"""One clip: choose the decoder, hand over from decord to PyAV where that is needed, keep the limits."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator
from dataclasses import replace

import numpy as np

from pipeline.decode.clock import Clock
from pipeline.decode.decord import DecordDecoder, DecordGone, DecordWrong, suits
from pipeline.decode.decord_process import DecordProcess
from pipeline.decode.errors import VideoError
from pipeline.decode.events import Chunk, ClipRequest, DecoderName, Event, Failed, Finished, Opened
from pipeline.decode.probe import Probe
from pipeline.decode.protocol import Block
from pipeline.decode.pyav import PyAVDecoder
from pipeline.decode.settings import DecodeSettings

logger = logging.getLogger(__name__)


def resolve_range(request: ClipRequest, probe: Probe) -> tuple[int, int, bool]:
    """The request's half-open range in source frames, and whether it runs to the video's end or beyond.

    Raises VideoError `RangeOutsideVideo` where no frame of the video is in it.
    """
    frames = probe.info.frames
    start, end = request.start_frame or 0, request.end_frame
    if request.start_s is not None or request.end_s is not None:
        seconds = probe.seconds(np.arange(frames))
        start = int(np.searchsorted(seconds, request.start_s or 0.0))
        end = None if request.end_s is None else int(np.searchsorted(seconds, request.end_s))
        end = None if end == frames else end
    if not 0 <= start < min(frames, frames if end is None else end):
        in_seconds = request.start_s is not None or request.end_s is not None
        first = (request.start_s or 0.0) if in_seconds else start
        last = request.end_s if in_seconds else request.end_frame
        asked = f"{'seconds' if in_seconds else 'frames'} {first} to {'its end' if last is None else last}"
        span = float(probe.seconds(np.array([frames - 1]))[0])
        message = f"{probe.location} has no frame in {asked}: it has {frames} frames, the last at {span:.3f} s"
        raise VideoError("open", "RangeOutsideVideo", message)
    return start, min(frames, frames if end is None else end), end is None or end > frames


def decode_clip(
    clip: int,
    request: ClipRequest,
    probe: Probe,
    settings: DecodeSettings,
    process: DecordProcess,
    clock: Clock | None = None,
) -> Iterator[Event | None]:
    """The events of one clip; None is a sign of life.

    What ends a clip, and what becomes of its rows:

    - undecodable frames up to `max_corrupt` of the range: `Finished`, they are counted and have no rows;
    - more than that: `Failed` `TooManyCorrupt`, no rows kept, as soon as there are too many;
    - the file is cut off inside the range, a frame changes size, or the time limit is reached: `Failed`, rows kept.
    """
    try:
        start, end, to_the_end = resolve_range(request, probe)
    except VideoError as error:
        yield failure(clip, error)
        return
    clock = clock or Clock(probe.location, settings.limits.max_clip_seconds)
    allowed = request.max_corrupt * (end - start)
    handed, corrupt, decoder = 0, 0, "pyav"
    try:
        for item in _blocks(request, probe, start, end, settings, process):
            clock.check()
            if item is None:
                yield None
                continue
            if isinstance(item, str):
                handed, corrupt, decoder = 0, 0, item
                with clock.paused():
                    yield Opened(clip, replace(probe.info, decoder=item), start, end)
                continue
            decoder, block = item
            corrupt = block.corrupt
            _check_corrupt(probe, corrupt, allowed, start, end)
            if len(block.frame_index):
                handed += len(block.frame_index)
                seconds = probe.seconds(block.frame_index)
                with clock.paused():
                    yield Chunk(clip, block.frames, block.frame_index, seconds, corrupt)
        if probe.cut_off is not None and to_the_end:
            message = f"{probe.location} ends early, after frame {probe.info.frames - 1}: {probe.cut_off}"
            raise VideoError("decode", "Truncated", message, keep_rows=True)
    except VideoError as error:
        yield failure(clip, error, frames=handed, corrupt=corrupt, decoder=decoder)  # type: ignore[arg-type]
        return
    yield Finished(clip, handed, corrupt, decoder)  # type: ignore[arg-type]


def failure(
    clip: int, error: VideoError, *, frames: int = 0, corrupt: int = 0, decoder: DecoderName | None = None
) -> Failed:
    """The event of an error."""
    return Failed(clip, error.stage, error.error_type, error.message, frames, corrupt, error.keep_rows, decoder=decoder)


def _check_corrupt(probe: Probe, corrupt: int, allowed: float, start: int, end: int) -> None:
    if corrupt > allowed:
        message = (
            f"{probe.location}: {corrupt} of the {end - start} frames from {start} to {end} cannot be decoded, "
            f"{int(allowed)} are allowed"
        )
        raise VideoError("decode", "TooManyCorrupt", message)


_Item = DecoderName | tuple[DecoderName, Block] | None


def _blocks(
    request: ClipRequest, probe: Probe, start: int, end: int, settings: DecodeSettings, process: DecordProcess
) -> Iterator[_Item]:
    """A decoder's name where a decoder starts at `start`, then its blocks with the name of who gave them."""
    entry = start
    if request.decoder == "decord" and suits(probe, start, end, process.shared_bytes // 2):
        decord = DecordDecoder(
            probe,
            process,
            threads=settings.threads,
            patience=settings.hang_seconds / 3,
            limits=settings.limits,
        )
        try:
            for block in decord.chunks(start, end, request.stride):
                if block is not None and block.frame_index[0] == start:
                    yield "decord"
                yield None if block is None else ("decord", _own(block) if settings.in_process else block)
            return
        except DecordWrong as error:
            logger.info("%s: PyAV in place of decord: %s", probe.location, error)
        except DecordGone as error:
            logger.info("%s: PyAV takes over from decord: %s", probe.location, error)
            if decord.last is not None:
                entry = decord.last[0]
        finally:
            decord.close()
    pyav = PyAVDecoder(probe, threads=settings.threads, chunk_bytes=settings.chunk_bytes, limits=settings.limits)
    if entry != start and (yield from _take_over(pyav, decord, entry, end, request.stride)):
        return
    yield "pyav"
    for block in pyav.chunks(start, end, request.stride):
        yield None if block is None else ("pyav", block)
    yield "pyav", _tail(pyav)


def _take_over(
    pyav: PyAVDecoder, decord: DecordDecoder, entry: int, end: int, stride: int
) -> Generator[_Item, None, bool]:
    """Go on with PyAV after the last frame that decord gave. False, and nothing given, where that one was wrong."""
    assert decord.last is not None
    confirmed = False
    try:
        for block in pyav.chunks(entry, end, stride):
            if block is not None and not confirmed:
                if block.frame_index[0] != entry or not np.array_equal(block.frames[0], decord.last[1]):
                    return False
                confirmed = True
                block = Block(block.frames[1:], block.frame_index[1:], block.corrupt)
            yield None if block is None else ("pyav", block)
    except VideoError:
        if confirmed:
            raise
    if confirmed:
        yield "pyav", _tail(pyav)
    return confirmed


def _own(block: Block) -> Block:
    return Block(block.frames.copy(), block.frame_index, block.corrupt)


def _tail(pyav: PyAVDecoder) -> Block:
    """No frames, only the count: undecodable frames at the end of a range are in no block."""
    return Block(np.empty((0, 0, 0, 3), np.uint8), np.empty(0, np.int64), pyav.corrupt)
