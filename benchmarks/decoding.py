"""Frames a second out of a decoder, beside what FFmpeg itself does on the same file."""

from __future__ import annotations

import time
from pathlib import Path

import av

from pipeline.decode import Chunk, ClipRequest, DecodeSettings
from pipeline.decode.events import DecoderName
from pipeline.frames import stream


def frames_per_second(video: Path, decoder: DecoderName, repeats: int) -> float:
    """Frames a second through the service's own stream, opening included: the best of `repeats`."""
    best = 0.0
    for _ in range(repeats):
        started, frames = time.perf_counter(), 0
        request = ClipRequest("bench", str(video.resolve()), decoder=decoder)
        for event in stream([request], DecodeSettings(in_process=True)):
            if isinstance(event, Chunk):
                frames += len(event.frame_index)
        best = max(best, frames / (time.perf_counter() - started))
    return best


def ceiling(video: Path, repeats: int) -> float:
    """Frames a second of FFmpeg's decoder with one thread, pictures left as they come: the best of `repeats`."""
    best = 0.0
    for _ in range(repeats):
        started = time.perf_counter()
        with av.open(str(video)) as container:
            container.streams.video[0].codec_context.thread_count = 1
            frames = sum(1 for _ in container.decode(video=0))
        best = max(best, frames / (time.perf_counter() - started))
    return best
