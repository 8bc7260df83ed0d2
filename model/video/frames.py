"""Decode ranges of a video, every frame under its index."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import av
import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from model.video.container import Skip, decode_steps, open_stream, reason
from model.video.errors import VideoError
from model.video.index import VideoIndex, index_video
from model.video.pictures import Pictures, decode_picture

IndexedFrame = tuple[int, VideoFrame]

_WITH_UNREFERENCED = {"h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4"}
"""Codecs with pictures on which no other leans, of which FFmpeg leaves out what it can tell to be such."""

PIECE_BYTES = 128 << 20
"""Frames of a range that is read backward are held up to so many bytes at a time, decoded and upright."""
PIECE_FRAMES = 8
"""And so many at least, however large they are: each piece is decoded from the key frame before it."""


class IndexMismatch(Exception):
    """The decoder shows other frames than the packets' timestamps say: go by `index_video(…, decode_all=True)`."""


def decode_range(index: VideoIndex, start: int, end: int, stride: int = 1) -> Iterator[IndexedFrame | None]:
    """Decode frames start, start + stride, … below end, in order; None in between, for each packet, is a sign of life.

    A frame that the decoder refuses is left out; all others come. Where FFmpeg conceals damage and shows the frame, so
    does this. Decoding begins at a key frame from which `start` decodes as it does from the beginning of the file.
    Frames that are not wanted, and on which no wanted one leans, are not decoded where FFmpeg can tell.

    Raises:
        VideoError: `SizeChanged`, a frame has another size than the first; `Truncated`, the file can no longer be read.
            Frames before are right.
        IndexMismatch: the index is not the decoder's. Frames given before are in their order, and none is missing.
    """
    if start >= end:
        return
    if index.pictures is not None:
        yield from _decode_pictures(index, index.pictures, range(start, end, stride))
        return
    for entry in _entries(index, start):
        following, last, entered = start, start - 1, entry is None
        refused = set(index.timeline.refused)
        for frame in _careful_pass(index, entry, refused, _skipping(index, range(start, end, stride))):
            if frame is None:
                yield None
                continue
            place, picture = frame
            if place <= last:
                if last >= start:
                    raise IndexMismatch(f"{index.location}: frame {place} comes after frame {last}")
                continue
            if not entered and place > start:
                break
            entered, last = True, place
            _check_refused(index, range(following, min(place, end), stride), refused)
            if place >= end:
                return
            following += -(-(place - following) // stride) * stride
            if place != following:
                continue
            if (picture.width, picture.height) != (index.coded_width, index.coded_height):
                raise _size_changed(index, place, picture)
            yield place, picture
            following = place + stride
            if following >= end:
                return
        if entered:
            _check_refused(index, range(following, end, stride), refused)
            return


def pieces_backward(index: VideoIndex, wanted: range) -> Iterator[range]:
    """The pieces of a range of frames, the last first, each small enough to be decoded forward and held.

    A piece begins at a key frame where there is one among the frames that may be held, so that nothing is decoded
    twice. In a longer group of pictures it begins where it must.
    """
    most = max(PIECE_FRAMES, PIECE_BYTES // (index.width * index.height * 3))
    keys = index.timeline.keys
    while wanted:
        piece = wanted[-most:]
        key = int(np.searchsorted(keys, piece[0]))
        if len(piece) < len(wanted) and key < len(keys) and keys[key] <= piece[-1]:
            piece = piece[-((piece[0] - int(keys[key])) // piece.step) :]
        yield piece
        wanted = wanted[: -len(piece)]


def _skipping(index: VideoIndex, wanted: range) -> Callable[[Packet], Skip] | None:
    """What of each packet may be left out where these frames are wanted, in one pass; None where nothing is."""
    stamps, cuts = index.timeline.stamps, index.timeline.cuts
    if stamps is None or wanted.step == 1:
        return None
    is_wanted = np.zeros(index.frames, bool)
    is_wanted[wanted.start : wanted.stop : wanted.step] = True
    # Between two cuts nothing leans on what is outside of them, and no picture on those that are decoded after it.
    group_of = np.searchsorted(cuts, np.arange(index.frames), side="right")
    unwanted: Skip = "unless referenced" if index.codec in _WITH_UNREFERENCED else "nothing"
    to_come = np.bincount(group_of[is_wanted], minlength=len(cuts) + 1)

    def skip(packet: Packet) -> Skip:
        places = _with_stamp(stamps, packet.pts)
        if len(places) != 1:
            return "nothing"
        group = group_of[places[0]]
        if is_wanted[places[0]]:
            to_come[group] -= 1
            return "nothing"
        return unwanted if to_come[group] else "always"

    return skip


def _decode_pictures(index: VideoIndex, pictures: Pictures, wanted: range) -> Iterator[IndexedFrame | None]:
    files = pictures.files(wanted)
    for place in wanted:
        yield None
        try:
            pixels = decode_picture(next(files), index.max_pixels)
        except OSError as error:
            message = f"{index.location}: {pictures.names[place]} cannot be read: {reason(error)}"
            raise VideoError("decode", "Truncated", message, keep_rows=True) from None
        if pixels is not None:
            picture = VideoFrame.from_ndarray(pixels, format="rgb24")
            if (picture.width, picture.height) != (index.coded_width, index.coded_height):
                raise _size_changed(index, place, picture)
            yield place, picture


def _entries(index: VideoIndex, start: int) -> Iterator[int | None]:
    """Key frames to enter at, as timestamps, nearest first; None is the beginning of the file."""
    timeline = index.timeline
    if timeline.stamps is not None:
        keys = timeline.keys[timeline.keys <= start]
        for back in (1, 2, 9):
            if len(keys) >= back and keys[-back] > 0:
                yield int(timeline.stamps[keys[-back]])
    yield None


class _Refused(Exception):
    """The decoder refused a packet in a pass that leaves some out."""


def _careful_pass(
    index: VideoIndex, entry: int | None, refused: set[int], skip: Callable[[Packet], Skip] | None
) -> Iterator[IndexedFrame | None]:
    """`_pass`; after a refusal nothing is left out, since FFmpeg conceals damage by what came before."""
    last = -1
    try:
        for frame in _pass(index, entry, refused, skip):
            last = last if frame is None else frame[0]
            yield frame
    except _Refused:
        for frame in _pass(index, entry, refused, None):
            yield frame if frame is None or frame[0] > last else None


def _pass(
    index: VideoIndex, entry: int | None, refused: set[int], skip: Callable[[Packet], Skip] | None
) -> Iterator[IndexedFrame | None]:
    """The frames from a key frame on with their indexes, as the decoder gives them; adds to `refused` as it goes.

    Nothing where the seek does not lead to a key frame by `entry`.
    """
    stamps = index.timeline.stamps
    container, stream = open_stream(index.path, max_pixels=index.max_pixels)
    with container:
        if entry is not None:
            try:
                container.seek(entry, stream=stream, backward=True)
            except (av.FFmpegError, OSError):
                return
        counted = (number for number in range(index.frames) if number not in index.timeline.refused)
        place: int | None = -1
        try:
            for step in decode_steps(container, stream, skip):
                packet = step.packet
                if step.number == 0 and entry is not None and not _enters(packet, entry):
                    return
                yield None
                if step.error is not None and packet is not None and skip is not None:
                    raise _Refused
                if step.error is not None and packet is not None and stamps is not None:
                    refused.update(_with_stamp(stamps, packet.pts))
                for picture in step.frames:
                    place = next(counted, None) if stamps is None else _place(stamps, picture.pts, place)
                    if place is None:
                        raise IndexMismatch(f"{index.location}: a frame at {picture.pts} that no packet speaks of")
                    yield place, picture
        except (av.FFmpegError, OSError) as error:
            if index.cut_off is None:
                message = f"{index.location} ends early: {reason(error)}"
                raise VideoError("decode", "Truncated", message, keep_rows=True) from None


def _enters(packet: Packet | None, entry: int) -> bool:
    """Whether the first packet after a seek is a key frame by `entry`."""
    return packet is None or (packet.is_keyframe and packet.pts is not None and packet.pts <= entry)


def _with_stamp(stamps: NDArray[np.int64], pts: int | None) -> range:
    """Indexes of the frames with a timestamp."""
    if pts is None:
        return range(0)
    return range(int(np.searchsorted(stamps, pts)), int(np.searchsorted(stamps, pts, side="right")))


def _place(stamps: NDArray[np.int64], pts: int | None, last: int | None) -> int | None:
    """Index of the frame with a timestamp; of several, the first after `last`."""
    places = _with_stamp(stamps, pts)
    return next((place for place in places if last is None or place > last), places[-1] if places else None)


def _check_refused(index: VideoIndex, missing: range, refused: set[int]) -> None:
    """Raises IndexMismatch where a frame is missing that the decoder did not refuse."""
    for place in missing:
        if place not in refused:
            raise IndexMismatch(f"{index.location}: the decoder shows no frame {place}, and refuses none")


def _size_changed(index: VideoIndex, place: int, picture: VideoFrame) -> VideoError:
    message = (
        f"{index.location}: frame {place} is {picture.width}x{picture.height}, those before are "
        f"{index.coded_width}x{index.coded_height}"
    )
    return VideoError("decode", "SizeChanged", message, keep_rows=True)


def reindexed(index: VideoIndex, mismatch: IndexMismatch) -> VideoIndex:
    """The index of the same file by what its decoder shows.

    Raises:
        VideoError: `IndexMismatch`, it is that already.
    """
    if index.timeline.stamps is None:
        message = f"{mismatch}; it did when the file was looked through"
        raise VideoError("decode", "IndexMismatch", message, keep_rows=True) from None
    return index_video(index.path, location=index.location, max_pixels=index.max_pixels, decode_all=True)
