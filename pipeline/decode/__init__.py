"""Video to frames: PyAV describes every file, decord or PyAV decodes it, and nothing else knows which."""

from pipeline.decode.errors import Stage, VideoError
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
    "VideoInfo",
]
