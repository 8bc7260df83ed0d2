"""What the packets of a video say of its frames, and what the decoder makes of them.

Packets are numbered in the order in which they lie in the file, which is the order of decoding.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame

from model.video.container import decode_packet, decode_steps, demux, reason

HEAD_PACKETS = 300
"""How far the decoder is followed into a stream that begins in its middle, where no second key frame comes before."""

NOT_CODED_BYTES = 12
"""An MPEG-4 picture of fewer bytes may be one that says "the last one again" and is not shown."""


@dataclass(slots=True)
class Packets:
    """The packets of a stream.

    Attributes:
        pts, dts: presentation and decoding timestamps, None where the file has none.
        key: whether it is a key frame.
        size: bytes.
        discarded: decoded but not shown, as an edit list wants.
        hidden: those, and VP8 pictures that others only lean on.
        first: the first frame that the decoder gives, None where it gives none.
        cut_off: why the file could not be read to its end, None where it could.
    """

    pts: list[int | None] = field(default_factory=list)
    dts: list[int | None] = field(default_factory=list)
    key: list[bool] = field(default_factory=list)
    size: list[int] = field(default_factory=list)
    discarded: list[bool] = field(default_factory=list)
    hidden: list[bool] = field(default_factory=list)
    first: VideoFrame | None = None
    cut_off: str | None = None


def read_packets(container: InputContainer, stream: Any) -> Packets:
    """Look through all packets of a stream; nothing is decoded after the first frame.

    Raises `av.DecoderNotFoundError` or `NotImplementedError` where FFmpeg cannot decode the codec.
    """
    packets, context = Packets(), stream.codec_context
    try:
        for packet in demux(container, stream):
            if not packets.size:
                packets.first = _decode_alone(context, packet)
            if packets.first is None:
                packets.first = next(iter(decode_packet(context, packet)[0]), None)
            packets.pts.append(packet.pts)
            packets.dts.append(packet.dts)
            packets.key.append(packet.is_keyframe)
            packets.size.append(packet.size)
            packets.discarded.append(packet.is_discard)
            packets.hidden.append(packet.is_discard or _is_reference_only(packet, context.name))
    except (av.FFmpegError, OSError) as error:
        packets.cut_off = reason(error)
    if packets.first is None and packets.size:
        packets.first = next(iter(decode_packet(context, None)[0]), None)
    return packets


def _decode_alone(context: Any, packet: Packet) -> VideoFrame | None:
    """The frame of a key frame, which the decoder would hold back until it knows those around it; None of others."""
    if not packet.is_keyframe:
        return None
    frames, error = decode_packet(context, packet)
    frames += decode_packet(context, None)[0]
    context.flush_buffers()
    return frames[0] if error is None and len(frames) == 1 else None


def _is_reference_only(packet: Packet, codec: str) -> bool:
    # The first byte of a VP8 picture says whether it is shown; alternate references have packets of their own.
    return codec in ("vp8", "libvpx") and not bytes(packet)[0] & 0x10


@dataclass(slots=True)
class ShownFrames:
    """The frames of a stream as the decoder gives them, in order.

    Attributes:
        packet: number of the packet that each was decoded from.
        pts, dts: their timestamps, None where the decoder gives none.
        refused: numbers of the packets that the decoder refused and that gave no frame.
        followed: of how many packets, from the first on, it is known whether their frame is shown.
    """

    packet: list[int] = field(default_factory=list)
    pts: list[int | None] = field(default_factory=list)
    dts: list[int | None] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    followed: int = 0


def decode_numbers(container: InputContainer, stream: Any, until: int | None = None) -> ShownFrames:
    """Decode a stream from its beginning, for the numbers and times of its frames alone.

    Stops where the frame of packet `until` or a later one has come.
    """
    shown = ShownFrames()
    stream.codec_context.copy_opaque = True
    try:
        for step in decode_steps(container, stream):
            shown.followed = step.number
            if step.error is not None and step.packet is not None:
                shown.refused.append(step.number)
            for frame in step.frames:
                number: Any = frame.opaque
                shown.packet.append(number)
                shown.pts.append(frame.pts)
                shown.dts.append(frame.dts)
                if until is not None and number >= until:
                    shown.followed = max(until, shown.packet[0])
                    return shown
    except (av.FFmpegError, OSError):
        pass  # the file ends early, which `read_packets` has seen
    finally:
        frames = set(shown.packet)
        shown.refused = [number for number in shown.refused if number not in frames]
    return shown
