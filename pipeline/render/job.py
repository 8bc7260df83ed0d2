"""Videos of many clips, drawn in parallel on Ray: what `jobs/render.py` does."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline import storage
from pipeline.cluster.connect import connect
from pipeline.errors import UsageError
from pipeline.job import FAILED, FINISHED, STRICT_FAILED, run_job, take_signals_again
from pipeline.reading.draw import RenderError
from pipeline.reading.run_clip import RunClip
from pipeline.reading.selection import open_selection
from pipeline.render.options import RenderOptions
from pipeline.render.video import write_video

LOG_EVERY_S = 5.0
_CLIPS_A_LOOK = 256
_AHEAD = 2


@dataclass(frozen=True, slots=True)
class RenderedClip:
    """How one clip ended: frames in its video, or why there is none."""

    clip_id: str
    frames: int = 0
    error: str | None = None


def render_run(options: RenderOptions) -> int:
    """Draws the chosen clips; returns the exit status (0, 1, 3 or 130).

    Raises:
        UsageError: exit status 2: something is unusable, found before any work started.
    """
    return run_job(
        lambda: _render(options),
        interrupted="interrupted by {signal}: videos that are finished stay",
        expected=(storage.StorageError,),
    )


def _render(options: RenderOptions) -> int:
    run, chosen = open_selection(options.run, options.selection, videos=options.videos)
    try:
        output = storage.parse(options.output).uri
        storage.check_writable(output)
    except storage.StorageError as error:
        raise UsageError(f"--output: {error}") from error
    connect()
    take_signals_again()
    clips = (
        clip
        for start in range(0, len(chosen), _CLIPS_A_LOOK)
        for clip in run.each_clip(chosen[start : start + _CLIPS_A_LOOK])
    )
    rendered = failed = frames = 0
    last_line = time.monotonic()
    for drawn in _in_parallel(clips, output, options):
        rendered, failed = rendered + (drawn.error is None), failed + (drawn.error is not None)
        frames += drawn.frames
        if drawn.error is not None:
            print(f"failed: {drawn.error}", file=sys.stderr, flush=True)
        if time.monotonic() - last_line >= LOG_EVERY_S:
            last_line = time.monotonic()
            print(f"{rendered + failed}/{len(chosen)} clips, {failed} failed", file=sys.stderr, flush=True)
    print(
        f"{len(chosen)} clips: {rendered} drawn, {failed} failed; {frames} frames in {storage.redact(output)}",
        flush=True,
    )
    if not rendered:
        return FAILED
    return STRICT_FAILED if failed and options.strict else FINISHED


def _in_parallel(clips: Iterator[RunClip], output: str, options: RenderOptions) -> Iterator[RenderedClip]:
    """One task a clip, a few more at a time than there are CPUs; what ends first comes first."""
    import ray
    from ray.exceptions import RayError

    task = ray.remote(num_cpus=1, max_retries=1)(draw_one)
    under_way: dict[object, str] = {}
    most = _AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1)))
    more = True
    while more or under_way:
        while more and len(under_way) < most:
            clip = next(clips, None)
            more = clip is not None
            if clip is not None:
                under_way[task.remote(clip, output, options)] = clip.clip_id
        if under_way:
            (ready,), _ = ray.wait(list(under_way), num_returns=1)
            clip_id = under_way.pop(ready)
            try:
                yield ray.get(ready)
            except RayError as error:
                kind = type(error).__name__
                yield RenderedClip(clip_id, error=f"clip {clip_id}: the worker that drew it died twice ({kind})")


def draw_one(clip: RunClip, output: str, options: RenderOptions) -> RenderedClip:
    """Draws one clip and puts its video into the output; what is wrong with the clip is in the answer."""
    with tempfile.TemporaryDirectory(prefix="siammask-render-") as folder:
        path = Path(folder) / f"{clip.clip_id}.mp4"
        try:
            video = write_video(
                clip, path, layout=options.layout, style=options.style, between=options.between
            )
            storage.upload_file(path, storage.join(output, path.name))
        except RenderError as error:
            return RenderedClip(clip.clip_id, error=str(error))
        except storage.StorageError as error:
            return RenderedClip(clip.clip_id, error=f"clip {clip.clip_id}: {error}")
    return RenderedClip(clip.clip_id, video.frames)
