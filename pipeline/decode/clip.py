"""One clip: choose the decoder, hand over from decord to PyAV where that is needed, keep the limits."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator

import numpy as np

from model.video.errors import VideoError
from model.video.index import VideoIndex
from pipeline.decode.block import Block
from pipeline.decode.clock import ClipTimer
from pipeline.decode.decord import DecordDecoder, DecordGone, DecordWrong, suits
from pipeline.decode.events import Chunk, ClipRequest, DecoderName, Event, Failed, Finished, Opened, VideoInfo
from pipeline.decode.pyav import PyAVDecoder
from pipeline.decode.settings import DecodeSettings

logger = logging.getLogger(__name__)


def resolve_range(request: ClipRequest, index: VideoIndex) -> tuple[int, int, bool]:
    """The request's half-open range in source frames, and whether it runs to the video's end or beyond.

    Raises VideoError `RangeOutsideVideo` where no frame of the video is in it.
    """
    frames = index.frames
    start, end = request.start_frame or 0, request.end_frame
    if request.start_s is not None or request.end_s is not None:
        seconds = index.seconds(np.arange(frames))
        start = int(np.searchsorted(seconds, request.start_s or 0.0))
        end = None if request.end_s is None else int(np.searchsorted(seconds, request.end_s))
        end = None if end == frames else end
    if not 0 <= start < min(frames, frames if end is None else end):
        in_seconds = request.start_s is not None or request.end_s is not None
        first = (request.start_s or 0.0) if in_seconds else start
        last = request.end_s if in_seconds else request.end_frame
        asked = f"{'seconds' if in_seconds else 'frames'} {first} to {'its end' if last is None else last}"
        span = float(index.seconds(np.array([frames - 1]))[0])
        message = f"{index.location} has no frame in {asked}: it has {frames} frames, the last at {span:.3f} s"
        raise VideoError("open", "RangeOutsideVideo", message)
    return start, min(frames, frames if end is None else end), end is None or end > frames


def decode_clip(
    clip: int,
    request: ClipRequest,
    index: VideoIndex,
    settings: DecodeSettings,
    clock: ClipTimer | None = None,
) -> Iterator[Event | None]:
    """The events of one clip; None is a sign of life.

    What ends a clip, and what becomes of its rows:

    - undecodable frames up to `max_corrupt` of the range: `Finished`, they are counted and have no rows;
    - more than that: `Failed` `TooManyCorrupt`, no rows kept, as soon as there are too many;
    - the file is cut off inside the range, a frame changes size, or the time limit is reached: `Failed`, rows kept.

    Raises IndexMismatch where the decoder shows other frames than the index has; what came before is void.
    """
    try:
        start, end, to_the_end = resolve_range(request, index)
    except VideoError as error:
        yield failure(clip, error)
        return
    clock = clock or ClipTimer(index.location, settings.limits.max_clip_seconds)
    asked = len(range(start, end, request.stride))
    handed, corrupt, decoder = 0, 0, "pyav"
    try:
        for item in _blocks(request, index, start, end, settings):
            clock.check()
            if item is None:
                yield None
                continue
            if isinstance(item, str):
                handed, corrupt, decoder = 0, 0, item
                with clock.paused():
                    yield Opened(clip, VideoInfo.of(index, item), start, end)
                yield from _backward(clip, request, index, range(start, end, request.stride), settings, clock)
                continue
            decoder, block = item
            corrupt = block.corrupt
            _check_corrupt(index, corrupt, request.max_corrupt, asked)
            if len(block.frame_index):
                handed += len(block.frame_index)
                seconds = index.seconds(block.frame_index)
                with clock.paused():
                    yield Chunk(clip, block.frames, block.frame_index, seconds, corrupt)
        if index.cut_off is not None and to_the_end:
            message = f"{index.location} ends early, after frame {index.frames - 1}: {index.cut_off}"
            raise VideoError("decode", "Truncated", message, keep_rows=True)
    except VideoError as error:
        yield failure(clip, error, frames=handed, corrupt=corrupt, decoder=decoder)  # type: ignore[arg-type]
        return
    yield Finished(clip, handed, corrupt, decoder)  # type: ignore[arg-type]


def _backward(
    clip: int, request: ClipRequest, index: VideoIndex, frames: range, settings: DecodeSettings, clock: ClipTimer
) -> Iterator[Chunk | None]:
    """The frames that are asked for in descending order, of all that are tracked."""
    if request.backward is None:
        return
    low, high = (-((frames.start - frame) // frames.step) for frame in request.backward)
    for block in PyAVDecoder(index, chunk_bytes=settings.chunk_bytes).backward(frames[max(0, low) : max(1, high)]):
        clock.check()
        if block is None:
            yield None
            continue
        with clock.paused():
            yield Chunk(clip, block.frames, block.frame_index, index.seconds(block.frame_index), 0, backward=True)


def failure(
    clip: int, error: VideoError, *, frames: int = 0, corrupt: int = 0, decoder: DecoderName | None = None
) -> Failed:
    """The event of an error."""
    return Failed(clip, error.stage, error.error_type, error.message, frames, corrupt, error.keep_rows, decoder=decoder)


def _check_corrupt(index: VideoIndex, corrupt: int, fraction: float, asked: int) -> None:
    if corrupt > fraction * asked:
        allowed = int(fraction * asked)
        message = f"{index.location}: {corrupt} of the {asked} frames cannot be decoded, {allowed} are allowed"
        raise VideoError("decode", "TooManyCorrupt", message)


_Item = DecoderName | tuple[DecoderName, Block] | None


def _blocks(
    request: ClipRequest, index: VideoIndex, start: int, end: int, settings: DecodeSettings
) -> Iterator[_Item]:
    """A decoder's name where a decoder starts at `start`, then its blocks with the name of who gave them."""
    entry = start
    if request.decoder == "decord" and suits(index, start, end, request.stride):
        decord = DecordDecoder(index, chunk_bytes=settings.chunk_bytes)
        try:
            for block in decord.chunks(start, end):
                if block is not None and block.frame_index[0] == start:
                    yield "decord"
                yield None if block is None else ("decord", block)
            return
        except DecordWrong as error:
            logger.info("%s: PyAV in place of decord: %s", index.location, error)
        except DecordGone as error:
            logger.info("%s: PyAV takes over from decord: %s", index.location, error)
            if decord.last is not None:
                entry = decord.last[0]
    pyav = PyAVDecoder(index, chunk_bytes=settings.chunk_bytes)
    if entry != start and (yield from _take_over(pyav, decord, entry, end)):
        return
    yield "pyav"
    for block in pyav.chunks(start, end, request.stride):
        yield None if block is None else ("pyav", block)
    yield "pyav", _tail(pyav)


def _take_over(pyav: PyAVDecoder, decord: DecordDecoder, entry: int, end: int) -> Generator[_Item, None, bool]:
    """Go on with PyAV after the last frame that decord gave. False, and nothing given, where that one was wrong."""
    assert decord.last is not None
    confirmed = False
    try:
        for block in pyav.chunks(entry, end, 1):
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


def _tail(pyav: PyAVDecoder) -> Block:
    """No frames, only the count: undecodable frames at the end of a range are in no block."""
    return Block(np.empty((0, 0, 0, 3), np.uint8), np.empty(0, np.int64), pyav.corrupt)
