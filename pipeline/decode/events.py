"""What goes into decoding (`ClipRequest`, `DecodeLimits`) and what comes out, clip by clip (`Event`).

A clip's events are `Opened`, any number of `Chunk`, then exactly one of `Finished` and `Failed`. A clip that cannot
be fetched or opened has `Failed` alone. Chunks that are `backward` come before the others. A second `Opened` for the
same clip starts it over: whatever came before is void. That happens where decord is found to have given a wrong frame,
where the file's packets turn out not to say which frames it has, and after a worker died.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from model.video.container import MAX_PIXELS
from model.video.errors import Stage
from model.video.index import VideoIndex
from model.video.times import Timing

DecoderName = Literal["decord", "pyav"]


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """What one clip may cost; each limit has a named error.

    Attributes:
        max_frame_pixels: largest frame, width times height (`FrameTooLarge`).
        max_file_bytes: largest video file (`FileTooLarge`).
        max_clip_seconds: longest wall time for one clip, from fetch to last frame, without the time in which the
            consumer was busy (`Timeout`).
    """

    max_frame_pixels: int = MAX_PIXELS
    max_file_bytes: int = 64 << 30
    max_clip_seconds: float = 6 * 3600.0


@dataclass(frozen=True, slots=True)
class ClipRequest:
    """One range of one video to decode.

    Attributes:
        clip_id: for messages.
        video_location: absolute local path or URI (`pipeline.storage`).
        start_frame, end_frame: half-open range of source frames in presentation order; None is the video's own end,
            and an end beyond the video's is the video's (`Opened.end_frame` says which).
        start_s, end_s: the same in seconds after the first frame, in place of frames: the frames with
            `start_s <= pts_s < end_s`.
        stride: hand out every n-th frame, counted from the range's first.
        backward: half-open range of source frames, as far as they are in the clip's, that are handed out in descending
            order before all frames are in ascending order; None is none.
        fps: frames a second of a folder of pictures; None is 25.
        decoder: the decoder wanted; `VideoInfo.decoder` says which was used.
        max_corrupt: largest fraction of undecodable frames among those to hand out; a clip with more fails.
    """

    clip_id: str
    video_location: str
    start_frame: int | None = None
    end_frame: int | None = None
    start_s: float | None = None
    end_s: float | None = None
    stride: int = 1
    backward: tuple[int, int] | None = None
    decoder: DecoderName = "decord"
    max_corrupt: float = 0.1
    fps: float | None = None


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """A video as its container and its first frame describe it.

    Attributes:
        width, height: pixels of the upright frame, after rotation.
        rotation: degrees by which the coded frame is turned clockwise to stand upright: 0, 90, 180 or 270.
        mirrored: whether it is then mirrored left to right.
        fps: average frames per second; 0 where the container does not say.
        timing: where the frames' times come from (`model.video.times`).
        frames: how many there are, those that do not decode among them.
        codec: FFmpeg's name of the codec, such as "h264".
        decoder: the decoder in use; "pyav" also where decord was asked for and does not agree with it.
    """

    width: int
    height: int
    rotation: int
    mirrored: bool
    fps: float
    timing: Timing
    frames: int
    codec: str
    decoder: DecoderName

    @classmethod
    def of(cls, index: VideoIndex, decoder: DecoderName) -> VideoInfo:
        """What a video's index says, for a clip that `decoder` decodes."""
        return cls(
            width=index.width,
            height=index.height,
            rotation=index.orientation.rotation,
            mirrored=index.orientation.mirrored,
            fps=index.fps,
            timing=index.timing,
            frames=index.frames,
            codec=index.codec,
            decoder=decoder,
        )


@dataclass(frozen=True, slots=True)
class Opened:
    """Clip `clip` (its index in the requests) starts; `[start_frame, end_frame)` is its range in source frames."""

    clip: int
    info: VideoInfo
    start_frame: int
    end_frame: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """Decoded frames of a clip, in presentation order, or the other way round where `backward`.

    Attributes:
        frames: uint8 [n, height, width, 3], RGB, upright, n >= 1. Read-only, in the object store's memory: copy what
            must outlive the chunk.
        frame_index: int64 [n], index in the source video, strictly increasing, or decreasing where `backward`.
        pts_s: float64 [n], seconds after the video's first frame.
        corrupt_frames: frames to hand out so far that could not be decoded; they are missing from `frame_index`. Where
            `backward` none is counted, since all are asked for again.
        backward: whether this is of the frames that come in descending order.
    """

    clip: int
    frames: NDArray[np.uint8]
    frame_index: NDArray[np.int64]
    pts_s: NDArray[np.float64]
    corrupt_frames: int
    backward: bool = False


@dataclass(frozen=True, slots=True)
class Finished:
    """The clip's range is decoded to its end.

    Attributes:
        frames: frames handed out in ascending order since the last `Opened`.
        corrupt_frames: frames to hand out that could not be decoded.
        decoder: the decoder that gave the last frame: "pyav" where decord gave up on the way.
        decode_wait_s: seconds the consumer waited for this clip's events.
    """

    clip: int
    frames: int
    corrupt_frames: int
    decoder: DecoderName
    decode_wait_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Failed:
    """The clip ends here.

    Attributes:
        keep_rows: the frames handed out since the last `Opened` are right and worth keeping (status `partial` when
            there are any): the file is cut off, a frame changes size, a limit was reached, the worker died. False
            where too much of the clip is bad for its rows to mean anything (`TooManyCorrupt`).
        decoder: the decoder in use, None where the clip was not opened.
    """

    clip: int
    stage: Stage
    error_type: str
    message: str
    frames: int
    corrupt_frames: int
    keep_rows: bool
    decoder: DecoderName | None = None
    decode_wait_s: float = 0.0


Event = Opened | Chunk | Finished | Failed
