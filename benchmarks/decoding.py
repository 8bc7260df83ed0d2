"""Processor time of decoding: what a video costs to start and what a frame costs from then on, beside its peers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av

from benchmarks.clips import write_clip
from pipeline.decode import ClipRequest, DecodeSettings
from pipeline.decode.events import DecoderName
from pipeline.decode.stream import stream

LENGTHS = (48, 144)
"""Frames of the two clips whose difference is the steady state."""


@dataclass(frozen=True, slots=True)
class DecodingCost:
    """Milliseconds of all processors together: to start a video, and a frame of it."""

    start: float
    frame: float


def decoding_costs(folder: Path, width: int, height: int, repeats: int) -> dict[str, DecodingCost]:
    """What each reader costs on clips of this size with a key frame a second, one decoding thread each."""
    clips = [
        write_clip(
            folder / f"{width}-{frames}.mp4", width=width, height=height, objects=2, frames=frames, grain=True
        ).path
        for frames in LENGTHS
    ]
    readers: dict[str, Callable[[Path], object]] = {
        "ours, decord": lambda path: read_as_the_job(path, "decord"),
        "ours, pyav": lambda path: read_as_the_job(path, "pyav"),
        "decord alone": read_by_decord,
        "PyAV alone": read_by_pyav,
    }
    best = {name: [float("inf")] * len(clips) for name in readers}
    for _ in range(repeats):  # in turn, so that what others do on the machine meets all alike
        for name, read in readers.items():
            for place, path in enumerate(clips):
                before = time.process_time()
                read(path)
                best[name][place] = min(best[name][place], 1e3 * (time.process_time() - before))
    costs = {}
    for name, (short, long) in best.items():
        frame = (long - short) / (LENGTHS[1] - LENGTHS[0])
        costs[name] = DecodingCost(short - LENGTHS[0] * frame, frame)
    return costs


def read_as_the_job(video: Path, decoder: DecoderName, stride: int = 1) -> None:
    """Through the service's own stream, in this process."""
    request = ClipRequest("bench", str(video.resolve()), decoder=decoder, stride=stride)
    for _ in stream([request], DecodeSettings(in_process=True)):
        pass


def read_by_decord(video: Path) -> None:
    """Every frame of the whole file, by decord itself."""
    import decord

    reader: Any = decord.VideoReader(str(video), num_threads=1)
    for _ in range(len(reader)):
        reader.next().asnumpy()


def read_by_pyav(video: Path) -> None:
    """Every frame by PyAV's plain reading, as RGB."""
    with av.open(str(video)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        for frame in container.decode(video=0):
            frame.to_ndarray(format="rgb24")
