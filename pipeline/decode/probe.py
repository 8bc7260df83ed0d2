"""What is in a video file: one pass of PyAV over its packets, and the first frame that decodes.

The packets' timestamps, sorted, are the video's frames: the position in that list is the frame index that the rest of
the service speaks of, whichever decoder runs and from wherever it starts. Not frames: packets flagged to be discarded
(edit lists), empty ones, VP8 pictures that are never shown, and what comes before the first key frame and cannot be
decoded without the part that was cut off.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from model.video import choose_stream
from pipeline.decode.errors import VideoError
from pipeline.decode.events import DecodeLimits, VideoInfo

# Formats that hold their own data. Playlists and the like (hls, concat, dash, sdp, image sequences) name other files.
CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,flv,asf,ogg,ivf,h264,hevc,obu,av1,vvc,"
    "mjpeg,gif,apng,mxf,yuv4mpegpipe,nut,rm,dv,h263,vc1,wtv,swf,y4m"
)

FALLBACK_RATE = 25  # frames a second of raw video that does not say


@dataclass(frozen=True, slots=True)
class Probe:
    """A video file as every decoder must see it.

    Attributes:
        path: local file. `location` is what messages call it.
        stream: index of the video stream in the container.
        info: for the user; `info.decoder` is "pyav".
        coded_width, coded_height: pixels of the frame before rotation.
        quarter_turns: counter-clockwise quarter turns that make a coded frame upright (`numpy.rot90`).
        pts: int64 [frames], sorted timestamps in `time_base`; the frame index is the position here.
        sizes: int64 [frames], bytes of each frame's packet.
        keys: int64 [k], sorted frame indexes of the key frames.
        cuts: int64 [c], those key frames before which the stream can be cut in two that decode on their own.
        timed: every packet has a timestamp of its own. Without, frames can only be counted from the first on.
        cut_off: what is known where the file ends early, else None.
    """

    path: str
    location: str
    stream: int
    info: VideoInfo
    coded_width: int
    coded_height: int
    quarter_turns: int
    pts: NDArray[np.int64]
    sizes: NDArray[np.int64]
    keys: NDArray[np.int64]
    cuts: NDArray[np.int64]
    time_base: Fraction
    timed: bool
    cut_off: str | None

    def seconds(self, index: NDArray[np.int64]) -> NDArray[np.float64]:
        """float64: presentation time of frames by index, in seconds after the first frame, correctly rounded."""
        ticks = (self.pts[index] - self.pts[0]) * self.time_base.numerator
        return np.asarray(ticks / self.time_base.denominator, dtype=np.float64)


def reason(error: BaseException) -> str:
    """FFmpeg's words for an error, without the local path that PyAV appends."""
    return str(getattr(error, "strerror", None) or error)


def open_video(path: str, *, max_pixels: int, threads: int = 1) -> tuple[InputContainer, int]:
    """Open a local file and choose its video stream (`model.video.choose_stream`).

    Only the file protocol and formats that hold their own data are allowed. Raises `av.FFmpegError`, and
    `LookupError` where there is no video stream.
    """
    # FFmpeg decodes a frame of some formats as it opens them: the largest frame has to be known by then.
    container = _open(path, max_pixels=str(max_pixels))
    try:
        chosen = choose_stream(container)
    except LookupError:
        container.close()
        raise
    context: Any = chosen.codec_context
    if context is not None:
        context.thread_count = threads
        context.thread_type = "AUTO" if threads > 1 else "SLICE"
        context.options = {"max_pixels": str(max_pixels)}
    return container, chosen.index


def _open(path: str, **options: str) -> InputContainer:
    safe = {"protocol_whitelist": "file", "format_whitelist": CONTAINERS}
    return av.open(f"file:{os.path.abspath(path)}", options={**safe, **options}, metadata_errors="replace")


def demux(container: InputContainer, stream: Any) -> Iterator[Packet]:
    """The stream's packets in decoding order, then an empty one.

    PyAV raises IndexError at the packets of a stream that begins in the midst of the file; it can go on after them.
    """
    while True:
        try:
            yield from container.demux(stream)
            return
        except IndexError:
            continue


def probe(path: str, *, location: str | None = None, limits: DecodeLimits | None = None) -> Probe:
    """Describe a local video file.

    Raises:
        VideoError: stage "open", and "decode" where not one frame decodes. Messages name `location`.
    """
    location = location or path
    limits = limits or DecodeLimits()
    try:
        empty = os.path.getsize(path) == 0
        container, stream = open_video(path, max_pixels=limits.max_frame_pixels)
    except LookupError:
        raise VideoError("open", "NoVideoStream", f"{location} has no video stream") from None
    except FileNotFoundError:
        raise VideoError("open", "NotFound", f"{location} does not exist") from None
    except (av.FFmpegError, OSError) as error:
        if not isinstance(error, IsADirectoryError) and empty:
            raise VideoError("open", "EmptyFile", f"{location} is empty: 0 bytes") from None
        message = f"{location} is not a video that FFmpeg can open: {reason(error)}"
        raise VideoError("open", "InvalidData", message) from None
    with container:
        return _describe(path, location, container, stream, limits)


def _describe(path: str, location: str, container: InputContainer, number: int, limits: DecodeLimits) -> Probe:
    stream: Any = container.streams[number]
    context = stream.codec_context
    if context is None:
        raise VideoError("open", "UnsupportedCodec", f"{location}: FFmpeg has no decoder for its video stream")
    width, height = context.width, context.height
    if not width and context.name == "rawvideo":  # FFmpeg forgets the size that it refuses
        with _open(path) as again:
            width, height = again.streams.video[0].width, again.streams.video[0].height
    _check_size(location, width, height, limits)
    stamps: list[int | None] = []
    keys: list[bool] = []
    sizes: list[int] = []
    first: VideoFrame | None = None
    cut_off = None
    try:
        for packet in demux(container, stream):
            if first is None:
                first = _try_decode(context, packet, location)
            if not _is_frame(packet, context.name):
                continue
            stamps.append(packet.pts if packet.pts is not None else packet.dts)
            keys.append(packet.is_keyframe)
            sizes.append(packet.size)
    except (av.FFmpegError, OSError) as error:
        cut_off = reason(error)
    cut_off = cut_off or _missing_end(container, stream)
    if first is None and stamps:
        first = _try_decode(context, None, location)
    if not stamps:
        raise VideoError("open", "NoFrames", f"{location} has a video stream without a single frame")
    if first is None:
        raise VideoError("decode", "InvalidData", f"{location}: none of its {len(stamps)} frames can be decoded")
    _check_size(location, first.width, first.height, limits)
    timeline = _timeline(stamps, keys, sizes, first.pts)
    turns = round(first.rotation / 90) % 4
    width, height = (first.width, first.height) if turns % 2 == 0 else (first.height, first.width)
    rate = stream.average_rate or stream.guessed_rate
    info = VideoInfo(
        width=width,
        height=height,
        rotation=-90 * turns % 360,
        fps=float(rate) if rate else 0.0,
        frames=len(timeline.pts),
        codec=context.codec.canonical_name,
        decoder="pyav",
    )
    return Probe(
        path=os.path.abspath(path),
        location=location,
        stream=number,
        info=info,
        coded_width=first.width,
        coded_height=first.height,
        quarter_turns=turns,
        pts=timeline.pts,
        sizes=timeline.sizes,
        keys=timeline.keys,
        cuts=timeline.cuts,
        # Without timestamps of its own a frame is shown for as long as the average one.
        time_base=stream.time_base if timeline.timed else 1 / Fraction(rate or FALLBACK_RATE),
        timed=timeline.timed,
        cut_off=cut_off,
    )


def _missing_end(container: InputContainer, stream: Any) -> str | None:
    """What a MP4 or MOV file lacks according to its index; FFmpeg itself stops there without a word."""
    if not container.format.name.startswith("mov") or not len(stream.index_entries):
        return None
    last = stream.index_entries[len(stream.index_entries) - 1]
    if last.pos + last.size > container.size:
        return f"its index speaks of byte {last.pos + last.size}, it has {container.size}"
    return None


def _is_frame(packet: Packet, codec: str) -> bool:
    if packet.size == 0 or packet.is_discard:
        return False
    # The first byte of a VP8 picture says whether it is shown; alternate references have packets of their own.
    return not (codec in ("vp8", "libvpx") and not bytes(packet)[0] & 0x10)


def _try_decode(context: Any, packet: Packet | None, location: str) -> VideoFrame | None:
    if packet is not None and packet.size == 0:
        packet = None
    try:
        frames = context.decode(packet)
    except EOFError:
        return None
    except (av.DecoderNotFoundError, NotImplementedError) as error:
        message = f"{location}: FFmpeg cannot decode its {context.name} video: {reason(error)}"
        raise VideoError("open", "UnsupportedCodec", message) from None
    except (av.FFmpegError, OSError, ValueError):
        return None
    return frames[0] if frames else None


def _check_size(location: str, width: int, height: int, limits: DecodeLimits) -> None:
    if width * height > limits.max_frame_pixels:
        message = (
            f"{location} has frames of {width}x{height} = {width * height} pixels, "
            f"the limit is {limits.max_frame_pixels}"
        )
        raise VideoError("open", "FrameTooLarge", message)


class _Timeline(NamedTuple):
    pts: NDArray[np.int64]
    sizes: NDArray[np.int64]
    keys: NDArray[np.int64]
    cuts: NDArray[np.int64]
    timed: bool


def _timeline(
    stamps: list[int | None], key_flags: list[bool], sizes: list[int], first_decoded: int | None
) -> _Timeline:
    """Packets in decoding order -> frames in presentation order."""
    begin = next((i for i, key in enumerate(key_flags) if key), 0)
    known = [stamp for stamp in stamps[begin:] if stamp is not None]
    if len(known) < len(stamps) - begin or len(set(known)) < len(known):
        none = np.empty(0, dtype=np.int64)
        return _Timeline(np.arange(len(stamps), dtype=np.int64), np.array(sizes), none, none, False)
    pts = np.array(known, dtype=np.int64)
    flags = np.array(key_flags[begin:], dtype=bool)
    # The first group may begin with pictures that lean on one that the file does not have (open group).
    shown = pts >= min(pts[0], pts[0] if first_decoded is None else first_decoded)
    pts, flags, size = pts[shown], flags[shown], np.array(sizes[begin:], dtype=np.int64)[shown]
    order = np.argsort(pts)
    later = np.minimum.accumulate(pts[::-1])[::-1]
    place = np.empty(len(pts), dtype=np.int64)
    place[order] = np.arange(len(pts))
    cuts = np.flatnonzero(flags & (later == pts) & (place == np.arange(len(pts))))
    return _Timeline(pts[order], size[order], np.flatnonzero(flags[order]), cuts, True)
