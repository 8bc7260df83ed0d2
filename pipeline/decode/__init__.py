"""Video to frames: `model.video` describes every file, decord or PyAV decodes it, and nothing else knows which."""

from model.video.errors import Stage, VideoError
from model.video.index import VideoIndex, index_video
from pipeline.decode.events import (
    Chunk,
    ClipRequest,
    DecodeLimits,
    DecoderName,
    Event,
    Failed,
    Finished,
    Opened,
    VideoInfo,
)
from pipeline.decode.settings import DecodeSettings

__all__ = [
    "Chunk",
    "ClipRequest",
    "DecodeLimits",
    "DecodeSettings",
    "DecoderName",
    "Event",
    "Failed",
    "Finished",
    "Opened",
    "Stage",
    "VideoError",
    "VideoIndex",
    "VideoInfo",
    "index_video",
]
