"""Some hundreds of tiny videos: codecs and containers, cut, joined, trimmed, turned, with odd times.

Each frame carries its number (`tests.pipeline.decode.barcode`).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.packet import Packet

from tests.pipeline.decode import barcode

Edit = Callable[[list[Packet]], list[Packet]]
FRAMES = 24
MATRICES = {
    "turn90": (0, 1, -1, 0),
    "turn180": (-1, 0, 0, -1),
    "turn270": (0, -1, 1, 0),
    "mirror": (-1, 0, 0, 1),
    "flip": (1, 0, 0, -1),
    "transpose": (0, 1, 1, 0),
    "antitranspose": (0, -1, -1, 0),
}
"""a, b, c, d of display matrices: a point (x, y) is shown at (a x + c y, b x + d y)."""


@dataclass(frozen=True)
class Encoding:
    """How pictures are encoded; `times` are in 1/25 s."""

    codec: str
    options: dict[str, str] = field(default_factory=dict)
    pix_fmt: str = "yuv420p"
    size: tuple[int, int] = (64, 48)
    frames: int = FRAMES
    group: int = 8
    rate: Fraction = Fraction(25)
    times: tuple[int, ...] = ()
    bits: int = 200_000


def x264(b_frames: int = 0, more: str = "", **other: Any) -> Encoding:
    options = {"preset": "ultrafast", "bf": str(b_frames), "sc_threshold": "0", "b_strategy": "0"}
    return Encoding("libx264", {**options, "x264-params": f"threads=1:{more}".rstrip(":")}, **other)


def x265(more: str = "", **other: Any) -> Encoding:
    parameters = f"log-level=none:pools=none:frame-threads=1:scenecut=0:{more}".rstrip(":")
    return Encoding("libx265", {"preset": "ultrafast", "x265-params": parameters}, **other)


ENCODINGS = {
    "h264": x264(),
    "h264-b2": x264(2),
    "h264-b3-open": x264(3, "open-gop=1:b-pyramid=2"),
    "h264-intra-refresh": x264(0, "intra-refresh=1", group=12),
    "h264-interlaced": x264(2, "tff=1"),
    "h264-refs": x264(2, "ref=4:weightp=2"),
    "h264-odd": x264(2, pix_fmt="yuv444p", size=(67, 51)),
    "h264-one": x264(2, frames=1),
    "h264-two": x264(2, frames=2),
    "h264-one-group": x264(2, group=1000),
    "h264-vfr": x264(2, times=tuple(n * n // 9 + n for n in range(FRAMES))),
    "h264-ntsc": x264(2, rate=Fraction(30000, 1001)),
    "hevc": x265("bframes=0"),
    "hevc-b": x265("bframes=3:open-gop=0"),
    "hevc-open": x265("bframes=3:open-gop=1", group=8),
    "hevc-one": x265("bframes=2", frames=1),
    "mpeg4": Encoding("mpeg4"),
    "mpeg4-b": Encoding("mpeg4", {"bf": "2"}),
    "mpeg4-two": Encoding("mpeg4", {"bf": "2"}, frames=2),
    "mpeg4-vfr": Encoding("mpeg4", times=tuple(n * n // 9 + n for n in range(FRAMES))),
    "mpeg2": Encoding("mpeg2video"),
    "mpeg2-b": Encoding("mpeg2video", {"bf": "2"}),
    "mpeg2-interlaced": Encoding("mpeg2video", {"bf": "2", "flags": "+ildct+ilme"}),
    "mpeg1-b": Encoding("mpeg1video", {"bf": "2"}),
    "mjpeg": Encoding("mjpeg", pix_fmt="yuvj420p"),
    "mjpeg-odd": Encoding("mjpeg", pix_fmt="yuvj444p", size=(67, 51)),
    "vp8": Encoding("libvpx", {"deadline": "realtime", "cpu-used": "8"}),
    "vp8-hidden": Encoding("libvpx", {"deadline": "good", "auto-alt-ref": "1", "lag-in-frames": "10"}),
    "vp9": Encoding("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
    "vp9-hidden": Encoding("libvpx-vp9", {"deadline": "good", "cpu-used": "5", "lag-in-frames": "12"}),
    "av1": Encoding("libsvtav1", {"preset": "12", "svtav1-params": "lp=1"}, size=(64, 64)),
    "ffv1": Encoding("ffv1"),
    "prores": Encoding("prores_ks", pix_fmt="yuv422p10le"),
    "huffyuv": Encoding("huffyuv", pix_fmt="yuv422p"),
    "utvideo": Encoding("utvideo"),
    "qtrle": Encoding("qtrle", pix_fmt="rgb24"),
    "h263": Encoding("h263", size=(128, 96)),
    "flv1": Encoding("flv"),
    "wmv2": Encoding("wmv2"),
    "msmpeg4": Encoding("msmpeg4"),
    "gif": Encoding("gif", pix_fmt="rgb8"),
    "apng": Encoding("apng", pix_fmt="rgb24"),
    "raw": Encoding("rawvideo"),
}

CONTAINERS = {
    "mp4": "h264 h264-b2 h264-b3-open h264-intra-refresh h264-interlaced h264-odd h264-one h264-two h264-vfr "
    "h264-one-group h264-ntsc h264-refs hevc hevc-b hevc-open hevc-one mpeg4 mpeg4-b mpeg4-two mpeg4-vfr mpeg2-b "
    "mpeg1-b mjpeg vp9 vp9-hidden av1",
    "mov": "h264 h264-b2 h264-b3-open h264-one h264-vfr hevc-open mpeg4-b mpeg2 mjpeg mjpeg-odd prores qtrle",
    "mkv": "h264 h264-b2 h264-b3-open h264-interlaced h264-odd h264-one h264-two h264-vfr h264-ntsc hevc hevc-b "
    "hevc-open mpeg4 mpeg4-b mpeg4-vfr mpeg2 mpeg2-b mpeg2-interlaced mpeg1-b mjpeg vp8 vp8-hidden vp9 vp9-hidden av1 "
    "ffv1",
    "webm": "vp8 vp8-hidden vp9 vp9-hidden av1",
    "avi": "h264 h264-b2 h264-b3-open h264-two mpeg4 mpeg4-b mpeg2 mpeg2-b mjpeg msmpeg4 huffyuv utvideo raw ffv1",
    "ts": "h264 h264-b2 h264-b3-open h264-intra-refresh h264-interlaced h264-one h264-two hevc hevc-b hevc-open "
    "mpeg4-b mpeg2 mpeg2-b mpeg2-interlaced",
    "mpg": "mpeg2 mpeg2-b mpeg2-interlaced mpeg1-b h264-b2",
    "flv": "h264 h264-b2 h264-vfr flv1",
    "asf": "h264 h264-b2 mpeg4 mpeg4-b wmv2 msmpeg4 mpeg2-b",
    "nut": "h264-b2 mpeg4-b mpeg2-b ffv1 h264-vfr",
    "mxf": "mpeg2 mpeg2-b",
    "3gp": "h264 h263 mpeg4",
    "h264": "h264 h264-b2 h264-b3-open h264-one",
    "hevc": "hevc hevc-b hevc-open",
    "m4v": "mpeg4 mpeg4-b",
    "m2v": "mpeg2 mpeg2-b",
    "m1v": "mpeg1-b",
    "ivf": "vp8 vp8-hidden vp9 vp9-hidden av1",
    "ogg": "vp8",
    "mjpeg": "mjpeg",
    "gif": "gif",
    "apng": "apng",
    "y4m": "raw",
}

_FORMS = {
    "mkv": "matroska",
    "ts": "mpegts",
    "mpg": "mpeg",
    "m2v": "mpeg2video",
    "m1v": "mpeg1video",
    "y4m": "yuv4mpegpipe",
}
_CUT = {"mp4", "mov", "mkv", "avi", "ts", "flv", "asf", "h264", "mpg", "webm", "m2v", "ivf"}
_STREAMS = {"ts", "mpg", "h264", "hevc", "m2v", "m4v"}
_HEADLESS = "h264 h264-b2 h264-b3-open h264-intra-refresh hevc-b hevc-open mpeg4 mpeg4-b mpeg2-b vp9"
_TRIMMED = "h264 h264-b2 h264-b3-open hevc hevc-b hevc-open mpeg4 mpeg4-b mpeg2-b mjpeg vp9"
_TWINS = "mpeg4 h264 vp9 mjpeg ffv1"
_TURNED = "h264-b2 mpeg4 hevc-b mjpeg"
_JOINED = "h264 h264-b2 h264-b3-open hevc-b hevc-open mpeg2 mpeg2-b"
_RAW_JOINED = (("h264-b2", "h264"), ("hevc-b", "hevc"), ("mpeg2-b", "m2v"), ("mpeg2-b", "mpg"), ("mjpeg", "mjpeg"))


def make_files(folder: Path) -> Iterator[Path]:
    """Make all of them, one after the other."""
    whole: dict[tuple[str, str], Path] = {}
    for suffix, names in CONTAINERS.items():
        for name in names.split():
            whole[name, suffix] = encode(ENCODINGS[name], folder / f"{name}.{suffix}")
    yield from whole.values()

    for (name, suffix), path in whole.items():
        if suffix in _CUT:
            yield cut_bytes(path, 0.7)
        if suffix in _STREAMS and ENCODINGS[name].frames == FRAMES:
            yield cut_bytes(path, -0.3)
        if suffix in ("mkv", "ts", "flv", "mp4") and name in _HEADLESS.split():
            yield remux(path, "headless", lambda packets: packets[3:])
        if suffix in ("mp4", "mov") and name in _TRIMMED.split():
            yield remux(path, "trim3", lambda packets: trimmed(packets, 3))
            yield remux(path, "trim10", lambda packets: trimmed(packets, 10))
        if suffix in ("mp4", "mov", "mkv", "ts") and name in _TRIMMED.split():
            yield remux(path, "late", lambda packets: moved(packets, 7))
        if suffix == "mkv" and name in _TWINS.split():
            yield remux(path, "twins", lambda packets: twins(packets, {5, 13}))
            yield remux(path, "triplets", lambda packets: twins(packets, {5, 6, 13}))
        if suffix == "mp4" and name in _TURNED.split():
            for label, matrix in MATRICES.items():
                yield with_matrix(path, label, matrix)
    for name in _JOINED.split():
        path = whole[name, "ts"]
        yield joined(path, "twice", [path, path])
        later = remux(path, "later", lambda packets: moved(packets, FRAMES))
        yield joined(path, "on", [path, later])
        yield joined(path, "back", [later, path])
        overlapping = remux(path, "overlapping", lambda packets: moved(packets, FRAMES - 5))
        yield joined(path, "overlap", [path, overlapping])
    for name, suffix in _RAW_JOINED:
        yield joined(whole[name, suffix], "twice", [whole[name, suffix]] * 2)


def encode(encoding: Encoding, path: Path) -> Path:
    """Encode numbered pictures into a file."""
    width, height = encoding.size
    options = {"fflags": "+bitexact", **({"movflags": "+faststart"} if path.suffix in (".mp4", ".mov") else {})}
    with av.open(str(path), "w", format=_form(path), options=options) as container:
        stream: Any = container.add_stream(encoding.codec, rate=encoding.rate)
        stream.width, stream.height, stream.pix_fmt = width, height, encoding.pix_fmt
        stream.codec_context.time_base = 1 / encoding.rate
        stream.codec_context.gop_size = encoding.group
        stream.codec_context.thread_count = 1
        stream.bit_rate = encoding.bits
        stream.options = encoding.options
        times = encoding.times or range(encoding.frames)
        for number, time in zip(range(encoding.frames), times, strict=False):
            frame = av.VideoFrame.from_ndarray(barcode.draw(number, width, height), format="rgb24")
            frame.pts, frame.time_base = time, 1 / encoding.rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def _form(path: Path) -> str:
    """FFmpeg's name of the format."""
    return _FORMS.get(path.suffix[1:], path.suffix[1:])


def remux(path: Path, label: str, edit: Edit) -> Path:
    """The file with other packets, in the same container."""
    target = path.with_name(f"{path.stem}+{label}{path.suffix}")
    options = {"avoid_negative_ts": "disabled"} if path.suffix in (".mp4", ".mov") else {}
    with av.open(str(path)) as source, av.open(str(target), "w", format=_form(path), options=options) as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        for packet in edit([packet for packet in source.demux(source.streams.video[0]) if packet.size]):
            packet.stream = stream
            container.mux(packet)
    return target


def moved(packets: list[Packet], frames: int) -> list[Packet]:
    """Later by so many frames of 1/25 s."""
    for packet in packets:
        ticks = round(frames / 25 / packet.time_base)
        packet.pts, packet.dts = (packet.pts or 0) + ticks, (packet.dts or 0) + ticks
    return packets


def trimmed(packets: list[Packet], frames: int) -> list[Packet]:
    """As `ffmpeg -ss` with `-c copy` leaves it: from the key frame before, which the edit list hides."""
    before = [(packet.pts or 0) * packet.time_base * 25 <= frames for packet in packets]
    entry = max(place for place, packet in enumerate(packets) if packet.is_keyframe and before[place])
    return moved(packets[entry:], -frames)


def twins(packets: list[Packet], places: set[int]) -> list[Packet]:
    """Frames with the time of the one before."""
    for place in sorted(places):
        packets[place].pts = packets[place].dts = packets[place - 1].pts
    return packets


def cut_bytes(path: Path, part: float) -> Path:
    """The first part of the file, or what is left without it where `part` is negative."""
    data = path.read_bytes()
    target = path.with_name(f"{path.stem}+{'head' if part > 0 else 'tail'}{path.suffix}")
    at = int(len(data) * abs(part))
    target.write_bytes(data[:at] if part > 0 else data[at:])
    return target


def joined(path: Path, label: str, parts: list[Path]) -> Path:
    """Files one after the other."""
    target = path.with_name(f"{path.stem}+{label}{path.suffix}")
    target.write_bytes(b"".join(part.read_bytes() for part in parts))
    return target


def with_matrix(path: Path, label: str, matrix: tuple[int, int, int, int]) -> Path:
    """The file with another display matrix in its track header."""
    target = path.with_name(f"{path.stem}+{label}{path.suffix}")
    data = bytearray(path.read_bytes())
    a, b, c, d = (value << 16 for value in matrix)
    struct.pack_into(">9i", data, data.index(b"tkhd") + 4 + 40, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    target.write_bytes(data)
    return target

