"""Opening a video file with PyAV, safely, and decoding its packets one by one."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

MAX_PIXELS = 8192 * 8192
"""Pixels of the largest frame, where nothing else is said."""

# Formats that hold their own data. Playlists and the like (hls, concat, dash, sdp, image sequences) name other files.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,flv,asf,ogg,ivf,h264,hevc,obu,av1,vvc,"
    "mjpeg,gif,apng,mxf,yuv4mpegpipe,nut,rm,dv,h263,vc1,wtv,swf,y4m"
)

_thread = threading.local()


def reason(error: BaseException) -> str:
    """FFmpeg's words for an error, without the local path that PyAV appends."""
    return str(getattr(error, "strerror", None) or error)


def open_stream(path: str, *, max_pixels: int, probe: bool = True) -> tuple[InputContainer, Any]:
    """Open a local file and choose its video stream (`choose_stream`), to be decoded on one thread.

    Only the file protocol and formats that hold their own data are allowed. With one thread damaged files too decode
    to the same frames everywhere. The stream's `codec_context` is None where FFmpeg has no decoder for it.

    Args:
        probe: let FFmpeg decode a frame to learn how the stream orders its frames; without it, only packets and single
            key frames can be had, and opening takes a fraction of the time.

    Raises:
        av.FFmpegError: FFmpeg cannot open it.
        LookupError: there is no video stream.
    """
    # FFmpeg decodes a frame of some formats as it opens them: the largest frame has to be known by then.
    skipped = {} if probe else {"skip_frame": "all"}
    container = open_container(path, max_pixels=str(max_pixels), **skipped)
    try:
        stream: Any = choose_stream(container)
    except LookupError:
        container.close()
        raise
    if stream.codec_context is not None:
        stream.codec_context.thread_count = 1
        stream.codec_context.thread_type = "SLICE"
        stream.codec_context.options = {"max_pixels": str(max_pixels)}
    return container, stream


def open_container(path: str, **options: str) -> InputContainer:
    """Open a local file of a format that holds its own data. Raises `av.FFmpegError`."""
    safe = {"protocol_whitelist": "file", "format_whitelist": _FORMATS}
    return av.open(f"file:{os.path.abspath(path)}", options={**safe, **options}, metadata_errors="replace")


def choose_stream(container: InputContainer) -> VideoStream:
    """The video stream of a file that is meant: the first that is marked default, else FFmpeg's best; no cover picture.

    A single picture beside a stream of more (the still of an AVIF or HEIF sequence) is a cover picture too.

    Raises:
        LookupError: there is none.
    """
    streams = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
    moving = [s for s in streams if s.frames != 1]
    if moving and container.format.name.startswith("mov"):
        streams = moving
    if not streams:
        raise LookupError("no video stream")
    marked = [s for s in streams if s.disposition & av.stream.Disposition.default]
    best = container.streams.best("video")
    return marked[0] if marked else best if best in streams else streams[0]


def demux(container: InputContainer, stream: Any) -> Iterator[Packet]:
    """The stream's packets in decoding order, without empty ones.

    PyAV raises IndexError at the packets of a stream that begins in the midst of the file; it can go on after them.
    Raises `av.FFmpegError` or `OSError` where the file cannot be read on.
    """
    while True:
        try:
            yield from (packet for packet in container.demux(stream) if packet.size)
            return
        except IndexError:
            continue


class DecodeStep(NamedTuple):
    """What the decoder did with a packet.

    Attributes:
        number: of the packet, counted from where decoding began; `VideoFrame.opaque` of the frames that come of it,
            where the stream's `copy_opaque` is set.
        packet: None at the end of the file, where the decoder gives what it still holds.
        frames: shown by now, in order; not those of this packet where pictures are reordered.
        error: the decoder's refusal of the packet, None where it took it.
    """

    number: int
    packet: Packet | None
    frames: list[VideoFrame]
    error: Exception | None


Skip = Literal["nothing", "unless referenced", "always"]
"""What the decoder may leave out of a packet's work: nothing, all where no other picture leans on it, all."""


def decode_steps(
    container: InputContainer, stream: Any, skip: Callable[[Packet], Skip] | None = None
) -> Iterator[DecodeStep]:
    """Decode the stream from where the container stands to its end.

    Args:
        skip: what may be left out. After packets that are left out always, decoding begins anew, as after a seek.

    Raises `av.FFmpegError` or `OSError`, after the last step, where the file cannot be read to its end.
    """
    broken: Exception | None = None
    packets, context = demux(container, stream), stream.codec_context
    left_out = False
    for number in itertools.count():
        try:
            packet = next(packets, None)
        except (av.FFmpegError, OSError) as error:
            packet, broken = None, error
        if packet is not None:
            packet.opaque = number
            skipped = skip(packet) if skip is not None else "nothing"
            if skipped == "always":
                yield DecodeStep(number, packet, [] if left_out else decode_packet(context, None)[0], None)
                left_out = True
                continue
            if left_out:
                context.flush_buffers()
                left_out = False
            if skip is not None:
                context.skip_frame = "DEFAULT" if skipped == "nothing" else "NONREF"
        if not left_out:
            yield DecodeStep(number, packet, *decode_packet(context, packet))
        if packet is None:
            break
    if broken is not None:
        raise broken


def decode_packet(context: Any, packet: Packet | None) -> tuple[list[VideoFrame], Exception | None]:
    """The frames that the decoder shows after a packet, None for the file's end, and its refusal of the packet.

    Raises `av.DecoderNotFoundError` or `NotImplementedError` where it cannot decode the codec at all.
    """
    try:
        return context.decode(packet), None
    except (av.DecoderNotFoundError, NotImplementedError):
        raise
    except (av.FFmpegError, OSError, ValueError, EOFError) as error:
        return [], error


def rgb(frame: VideoFrame) -> NDArray[np.uint8]:
    """A decoded frame's pixels, uint8 [H, W, 3] RGB, not yet upright; valid while the frame is."""
    if not hasattr(_thread, "reformatter"):
        # Its tables are kept from video to video: making them takes longer than converting a small frame.
        _thread.reformatter = VideoReformatter()
    plane: Any = _thread.reformatter.reformat(frame, format="rgb24", threads=1).planes[0]
    rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width * 3]
    return rows.reshape(plane.height, plane.width, 3)
