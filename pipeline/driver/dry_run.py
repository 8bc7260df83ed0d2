"""What a run would do, and about how long it would take, without doing it.

Frames of open-ended clips are guessed from a sample of their videos, the rate from stepping random frames
through the network for a moment on the device that the run would use.
"""

from __future__ import annotations

import itertools
import statistics
import time
from typing import Any

import numpy as np

from pipeline import storage
from pipeline.clip import Clip
from pipeline.decode import VideoError, index_video
from pipeline.decode.staging import staged
from pipeline.output.index import OutputIndex
from pipeline.plan.placement import Placement
from pipeline.plan.prepare import Prepared
from pipeline.plan.todo import finished_clips
from pipeline.progress.display import clock

SAMPLED_VIDEOS = 8
SAMPLED_BYTES = 512 << 20
MEASURE_S = 2.0
BYTES_A_ROW = 490  # a row of masks in small zstd Parquet parts: 1,406 rows of DAVIS validation at 854x480


def describe_plan(prepared: Prepared) -> str:
    """The plan as text: what is to do, where, with what, and an estimate.

    Raises:
        UsageError: the output holds results of another configuration.
    """
    manifest, placed, model = prepared.manifest.summary, prepared.placement, prepared.model
    index = OutputIndex(prepared.output)
    index.refresh()
    _, todo = finished_clips(prepared, index, ok_only=prepared.options.retry_failed)
    frames, how = _frames(prepared)
    track_frames = frames * manifest.objects / manifest.clips * todo / manifest.clips
    rate = _measured_rate(prepared) * placed.actors.maximum
    return "\n".join(
        [
            f"manifest    {storage.redact(prepared.manifest.uri)}: {manifest.clips} clips, {manifest.objects} objects",
            f"output      {storage.redact(prepared.output)}: {manifest.clips - todo} clips finished, {todo} to do",
            f"weights     {model.name}, {model.layout} layout, {model.network['backbone']}, sha256 {model.digest[:12]}",
            f"licence     {model.metadata.get('licence', 'not recorded in the file')}",
            f"placement   {placed.actors.maximum} {placed.device} actor(s), {placed.calls} shards at once each, "
            f"{placed.lanes} clip(s) decoded at once in each, up to {placed.max_tracks} tracks a step",
            f"estimate    {frames:,.0f} frames ({how}), {track_frames:,.0f} mask rows to do",
            f"            {clock(track_frames / rate)} at {rate:,.1f} track-frames/s (measured for {MEASURE_S:.0f} s)",
            f"            {track_frames * BYTES_A_ROW / 1e6:,.1f} MB of Parquet",
            "dry run: nothing was run",
        ]
    )


def _frames(prepared: Prepared) -> tuple[float, str]:
    """Frames to track in the whole manifest, one count a clip, and how they are known."""
    summary, stride = prepared.manifest.summary, prepared.options.stride
    if not summary.open_clips:
        return summary.frames, "given by the manifest"
    open_ended = (clip for clip in prepared.manifest.clips() if clip.frame_count is None)
    counts = [
        count / stride for clip in itertools.islice(open_ended, SAMPLED_VIDEOS) if (count := _count(clip)) is not None
    ]
    if not counts:
        return summary.frames, f"without {summary.open_clips} clips whose videos could not be sampled"
    return (
        summary.frames + statistics.fmean(counts) * summary.open_clips,
        f"{summary.open_clips} clips guessed from {len(counts)} of their videos",
    )


def _count(clip: Clip) -> int | None:
    try:
        with staged(clip.video_location, max_bytes=SAMPLED_BYTES) as path:
            index = index_video(path, location=storage.redact(clip.video_location))
    except VideoError:
        return None
    if clip.start_s is not None or clip.end_s is not None:
        seconds = index.seconds(np.arange(index.frames))
        first, last = clip.start_s or 0.0, float("inf") if clip.end_s is None else clip.end_s
        return int(((seconds >= first) & (seconds < last)).sum())
    return max(0, index.frames - (clip.start_frame or 0))


def _measured_rate(prepared: Prepared) -> float:
    """Track-frames a second of one actor, decoding apart, measured on the device of the run."""
    import ray

    placed = prepared.placement
    claim: dict[str, Any] = {"num_cpus": placed.actor_cpus, "num_gpus": placed.actor_gpus}
    measure = ray.remote(_measure).options(**claim)
    return ray.get(measure.remote(prepared.model, placed, prepared.options.precision))


def _measure(model: Any, placed: Placement, precision: str) -> float:
    from pipeline.actor.engine import build_engine

    frame = np.random.default_rng(0).integers(0, 256, (480, 854, 3), np.uint8)
    tracks = min(placed.max_tracks, 4 if placed.device == "cpu" else 32)
    with build_engine(model, placed, precision) as engine:
        boxes = [np.array([100.0 + i, 100.0, 80.0, 60.0]) for i in range(tracks)]
        live = [started.result()[0] for started in [engine.init(frame, box) for box in boxes]]
        steps, began = 0, time.monotonic()
        while time.monotonic() - began < MEASURE_S:
            for future in [engine.step(track, frame) for track in live]:
                future.result()
            steps += tracks
        return steps / (time.monotonic() - began)
