"""The index of a video file: which frames it has, when each is shown, and which way up.

Every reader goes by it: the job's decoders, `track_video`, training and evaluation. The frames are those that FFmpeg's
command line shows (`-vsync passthrough`), in that order; a frame that the decoder refuses keeps its place among them.
The timestamps of a file's packets say that without decoding, as long as they can be believed. They cannot where the
container has no presentation times (AVI, ASF, raw streams), where some are missing, or where time goes back: there the
file is decoded once to see what comes out. So it is where a reader meets something that the packets did not say
(`model.video.frames`).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from model.video.container import MAX_PIXELS, open_container, open_stream, reason
from model.video.errors import VideoError
from model.video.orientation import Orientation, orientation_of
from model.video.packets import HEAD_PACKETS, NOT_CODED_BYTES, Packets, ShownFrames, decode_numbers, read_packets
from model.video.pictures import SUFFIXES, Pictures, decode_picture, find_pictures, picture_size
from model.video.timeline import StampKind, Timeline, timeline_of_decoder, timeline_of_packets
from model.video.times import Timing, times_of

_FALLBACK_RATE = Fraction(25)  # frames a second of raw video that does not say
_RAW = {"h264", "hevc", "vvc", "m4v", "mpegvideo", "h263", "vc1", "obu"}
_IN_DECODING_ORDER = {"avi", "asf", "rm", "swf"}
_REORDERING = {"h264", "hevc", "vvc", "mpeg1video", "mpeg2video", "vc1", "wmv3", "rv30", "rv40"}


@dataclass(frozen=True, slots=True)
class VideoIndex:
    """A local video file as every reader sees it; made by `index_video`.

    Attributes:
        path: the file, absolute. `location` is what messages call it.
        width, height: pixels of the upright frame; `coded_width`, `coded_height` of the frame as decoded.
        orientation: how a decoded frame becomes upright.
        fps: average frames a second, 0 where the file does not say.
        codec: FFmpeg's name of it, such as "h264".
        timeline: the frames.
        cut_off: why the file ends before it should, None where it does not.
        max_pixels: the limit on a frame's size that it was opened with, and is to be opened with again.
        pictures: the frames' files, where it is a folder of pictures.
        first_frame: as decoded; None of a folder of pictures.
    """

    path: str
    location: str
    width: int
    height: int
    coded_width: int
    coded_height: int
    orientation: Orientation
    fps: float
    codec: str
    timeline: Timeline
    cut_off: str | None
    max_pixels: int
    pictures: Pictures | None = None
    first_frame: VideoFrame | None = field(default=None, repr=False, compare=False)

    @property
    def frames(self) -> int:
        """How many frames there are, those that do not decode among them."""
        return len(self.timeline.times.ticks)

    @property
    def timing(self) -> Timing:
        """Where the frames' times come from."""
        return self.timeline.times.timing

    def seconds(self, index: NDArray[np.int64]) -> NDArray[np.float64]:
        """float64: presentation times of frames by index, in seconds after the first frame, correctly rounded."""
        return self.timeline.times.seconds(index)


def index_video(
    path: str | os.PathLike[str],
    *,
    location: str | None = None,
    max_pixels: int = MAX_PIXELS,
    rate: float | None = None,
    decode_all: bool = False,
) -> VideoIndex:
    """Look through a local video file, or a folder of pictures (`frames`, `frames/%05d.jpg`).

    Args:
        path: of the file, folder or pattern.
        location: what messages call it; by default the path.
        max_pixels: most pixels of a frame.
        rate: frames a second of a folder of pictures, 25 where None.
        decode_all: go by what the decoder shows, whatever the packets say.

    Raises:
        VideoError: stage "open", and "decode" where not one frame decodes. Messages name `location`.
    """
    path, location = os.path.abspath(path), location or str(path)
    if (pictures := find_pictures(path)) is not None:
        return _index_pictures(path, location, pictures, Fraction(rate or _FALLBACK_RATE), max_pixels)
    container, stream = _open(path, location, max_pixels)
    with container:
        return _index(path, location, container, stream, max_pixels, decode_all)


def _open(path: str, location: str, max_pixels: int) -> tuple[Any, Any]:
    try:
        size = os.path.getsize(path)
        with open(path, "rb") as file:
            head = file.read(16)
        # MP4 and MOV say in their index what FFmpeg would have to decode some frames for.
        container, stream = open_stream(path, max_pixels=max_pixels, probe=head[4:8] != b"ftyp")
    except LookupError:
        raise VideoError("open", "NoVideoStream", f"{location} has no video stream") from None
    except FileNotFoundError:
        raise VideoError("open", "NotFound", f"{location}: no such file") from None
    except (av.FFmpegError, OSError) as error:
        if not isinstance(error, IsADirectoryError) and size == 0:
            raise VideoError("open", "EmptyFile", f"{location} is not a video: it is empty, 0 bytes") from None
        if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
            message = f"{location} is a WebP picture or animation, which is not read; make a video or frames of it"
            raise VideoError("open", "UnsupportedFormat", message) from None
        message = f"{location} is not a video that FFmpeg can open: {reason(error)}"
        raise VideoError("open", "InvalidData", message) from None
    if stream.codec_context is None:
        container.close()
        raise VideoError("open", "UnsupportedCodec", f"{location}: FFmpeg has no decoder for its video stream")
    return container, stream


def _index(
    path: str, location: str, container: Any, stream: Any, max_pixels: int, decode_all: bool
) -> VideoIndex:
    context = stream.codec_context
    width, height = context.width, context.height
    if not width and context.name == "rawvideo":  # FFmpeg forgets a size that it refuses
        with open_container(path) as unlimited:
            width, height = unlimited.streams.video[0].width, unlimited.streams.video[0].height
    _check_size(location, width, height, max_pixels)
    try:
        packets = read_packets(container, stream)
    except (av.DecoderNotFoundError, NotImplementedError) as error:
        message = f"{location}: FFmpeg cannot decode its {context.name} video: {reason(error)}"
        raise VideoError("open", "UnsupportedCodec", message) from None
    first = packets.first
    if all(packets.hidden):
        raise VideoError("open", "NoFrames", f"{location} has a video stream without a single frame")
    if first is None:
        raise VideoError("decode", "InvalidData", f"{location}: none of its {len(packets.size)} frames can be decoded")
    _check_size(location, first.width, first.height, max_pixels)
    orientation = orientation_of(first)
    sides = (first.height, first.width) if orientation.swaps_sides else (first.width, first.height)
    rate = _rate(stream)
    return VideoIndex(
        path=path,
        location=location,
        width=sides[0],
        height=sides[1],
        coded_width=first.width,
        coded_height=first.height,
        orientation=orientation,
        fps=float(rate or 0),
        codec=context.codec.canonical_name,
        timeline=_timeline(path, container, stream, packets, rate or _FALLBACK_RATE, max_pixels, decode_all),
        cut_off=packets.cut_off or _missing_end(container, stream),
        max_pixels=max_pixels,
        first_frame=first,
    )


def _index_pictures(path: str, location: str, pictures: Pictures, rate: Fraction, max_pixels: int) -> VideoIndex:
    count = len(pictures.names)
    if not count:
        raise VideoError("open", "NoFrames", f"{location} is a folder without pictures: {', '.join(SUFFIXES)}")
    for data in pictures.files():
        if (size := picture_size(data)) is not None:
            _check_size(location, *size, max_pixels)
        first = decode_picture(data, max_pixels)
        if first is not None:
            break
    else:
        raise VideoError("decode", "InvalidData", f"{location}: none of its {count} pictures can be decoded")
    height, width = first.shape[:2]
    sizes = np.zeros(count, dtype=np.int64)
    none = np.empty(0, dtype=np.int64)
    return VideoIndex(
        path=path,
        location=location,
        width=width,
        height=height,
        coded_width=width,
        coded_height=height,
        orientation=Orientation(),
        fps=float(rate),
        codec=os.path.splitext(pictures.names[0])[1].lower()[1:].replace("jpg", "jpeg"),
        timeline=Timeline(times_of([None] * count, 1 / rate, rate), None, sizes, none, none, frozenset()),
        cut_off=None,
        max_pixels=max_pixels,
        pictures=pictures,
    )


def _check_size(location: str, width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        message = f"{location} has frames of {width}x{height} = {width * height} pixels, the limit is {max_pixels}"
        raise VideoError("open", "FrameTooLarge", message)


def _rate(stream: Any) -> Fraction | None:
    """Frames a second; a rate of one frame a tick is that of a container that does not know, and FFmpeg guesses."""
    average, guessed = stream.average_rate, stream.guessed_rate
    if average and guessed and average == 1 / stream.time_base != guessed:
        return Fraction(guessed)
    return Fraction(average or guessed) if average or guessed else None


def _missing_end(container: Any, stream: Any) -> str | None:
    """What a MP4 or MOV file lacks according to its index; FFmpeg itself stops there without a word."""
    if not container.format.name.startswith("mov") or not len(stream.index_entries):
        return None
    last = stream.index_entries[len(stream.index_entries) - 1]
    if last.pos + last.size > container.size:
        return f"its index speaks of byte {last.pos + last.size}, it has {container.size}"
    return None


def _timeline(
    path: str, container: Any, stream: Any, packets: Packets, rate: Fraction, max_pixels: int, decode_all: bool
) -> Timeline:
    tick, form = stream.time_base, container.format.name
    kind: StampKind = "none" if form in _RAW else "decoding" if form in _IN_DECODING_ORDER else "presentation"
    invented = kind == "none" or (kind == "decoding" and _may_reorder(stream))
    if decode_all or invented or _contradictory(packets) or _not_coded(stream, packets):
        return timeline_of_decoder(packets, _decode(path, max_pixels, None), kind, tick, rate)
    head = _decode(path, max_pixels, _head(packets)) if _begins_in_the_middle(packets) else None
    return timeline_of_packets(packets, head, tick, rate)


def _decode(path: str, max_pixels: int, until: int | None) -> ShownFrames:
    container, stream = open_stream(path, max_pixels=max_pixels)
    with container:
        return decode_numbers(container, stream, until)


def _may_reorder(stream: Any) -> bool:
    context = stream.codec_context
    return context.codec.canonical_name in _REORDERING or bool(context.has_b_frames)


def _contradictory(packets: Packets) -> bool:
    """Whether a frame has no timestamp, or decoding times go back."""
    if any(pts is None and not hidden for pts, hidden in zip(packets.pts, packets.hidden, strict=True)):
        return True
    dts = [stamp for stamp in packets.dts if stamp is not None]
    return any(after < before for before, after in zip(dts, dts[1:], strict=False))


def _not_coded(stream: Any, packets: Packets) -> bool:
    return stream.codec_context.codec.canonical_name == "mpeg4" and min(packets.size) <= NOT_CODED_BYTES


def _begins_in_the_middle(packets: Packets) -> bool:
    """Whether the first packet is no key frame, or some before the second key frame are shown before the first."""
    end = _head(packets)
    first = packets.pts[0]
    return not packets.key[0] or any(
        pts is not None and first is not None and pts < first for pts in packets.pts[:end]
    )


def _head(packets: Packets) -> int:
    """Number of the packet after which the stream decodes as if it had been entered at a key frame."""
    keys = [number for number, key in enumerate(packets.key[:HEAD_PACKETS]) if key]
    return keys[1] if len(keys) > 1 else HEAD_PACKETS
