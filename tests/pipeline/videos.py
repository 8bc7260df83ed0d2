"""Videos made on the spot, and PyAV's own plain reading of a video to compare with."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from model.video.container import demux
from model.video.orientation import orientation_of
from pipeline.decode import Chunk, ClipRequest, DecodeSettings, Event, Failed, Finished, Opened
from pipeline.decode.stream import stream


def make_video(
    path: Path,
    frames: int = 60,
    *,
    width: int = 128,
    height: int = 96,
    group: int = 12,
    b_frames: int = 2,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    rotation: int = 0,
    times: list[int] | None = None,
    open_gop: bool = False,
    still: bool = False,
    lossless: bool = False,
    backward: bool = False,
) -> Path:
    """A video in which every frame differs: a square moves over a gradient (not where `still`).

    Where `backward`, the pictures come in the opposite order; of `lossless` H.264 both decode to the same pixels.
    `rotation` is in degrees, counter-clockwise, as FFmpeg counts; `times` are timestamps in 1/30 s.
    """
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:  # the same bytes every time
        stream: Any = container.add_stream(codec, rate=30)
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.time_base = Fraction(1, 30)
        stream.codec_context.gop_size = group
        if codec == "libx264":
            stream.options = {
                "preset": "ultrafast" if still else "veryfast",
                "bf": str(b_frames),
                "sc_threshold": "0",
                "x264-params": f"open-gop={int(open_gop)}:threads=1",
            }
            if lossless:
                stream.options["qp"] = "0"
        if rotation:
            stream.set_display_rotation(rotation)
        frame = None
        for number in range(frames):
            if frame is None or not still:
                shown = frames - 1 - number if backward else number
                frame = av.VideoFrame.from_ndarray(picture(shown, width, height), format="rgb24")
                frame = frame.reformat(format=pix_fmt) if still else frame
            frame.pts = number if times is None else times[number]
            frame.time_base = Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def picture(number: int, width: int, height: int) -> NDArray[np.uint8]:
    """Frame `number` of a made video before encoding, uint8 [height, width, 3] RGB."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = np.linspace(0, 200, width).astype(np.uint8)
    image[..., 1] = np.linspace(0, 200, height).astype(np.uint8)[:, None]
    x, y = number * 5 % (width - 16), number * 3 % (height - 16)
    image[y : y + 16, x : x + 16] = (255, number * 40 % 256, 60)
    return image


@dataclass(frozen=True)
class Plain:
    """PyAV's reading from the first packet to the last on one thread, errors passed over; -1 is no timestamp."""

    pts: list[int]
    seconds: list[float]
    frames: list[NDArray[np.uint8]]


def plain(path: Path) -> Plain:
    """Decode the first default video stream; frames are upright RGB."""
    pts: list[int] = []
    frames: list[NDArray[np.uint8]] = []
    with av.open(str(path)) as container:
        streams = container.streams.video
        stream: Any = next((s for s in streams if s.disposition & av.stream.Disposition.default), streams[0])
        stream.codec_context.thread_count = 1
        for packet in itertools.chain(demux(container, stream), [None]):
            try:
                decoded = stream.codec_context.decode(packet)
            except av.FFmpegError:
                continue
            for frame in decoded:
                pts.append(-1 if frame.pts is None else frame.pts)
                frames.append(orientation_of(frame).upright(frame.to_ndarray(format="rgb24")))
        seconds = [float((stamp - pts[0]) * stream.time_base) for stamp in pts]
    return Plain(pts, seconds, frames)


@dataclass
class Read:
    """What `stream` gave for one clip."""

    opened: list[Opened]
    frames: dict[int, NDArray[np.uint8]]
    seconds: dict[int, float]
    end: Finished | Failed


def read_clips(requests: list[ClipRequest], settings: DecodeSettings | None = None) -> list[Read]:
    """Run `stream` (in this process unless told otherwise) and gather, as its consumer must."""
    results: list[Read] = []
    opened: list[Opened] = []
    frames: dict[int, NDArray[np.uint8]] = {}
    seconds: dict[int, float] = {}
    event: Event
    for event in stream(requests, settings or DecodeSettings(in_process=True)):
        if isinstance(event, Opened):
            opened.append(event)
            frames, seconds = {}, {}
        elif isinstance(event, Chunk):
            for index, at, frame in zip(event.frame_index.tolist(), event.pts_s.tolist(), event.frames, strict=True):
                assert index not in frames
                frames[index], seconds[index] = frame.copy(), at
        else:
            assert event.clip == len(results)
            results.append(Read(opened, frames, seconds, event))
            opened, frames, seconds = [], {}, {}
    return results


def read_clip(path: Path, settings: DecodeSettings | None = None, **request: Any) -> Read:
    """One clip of a local video."""
    return read_clips([ClipRequest(path.name, str(path), **request)], settings)[0]
