"""Videos of many clips, drawn in parallel on Ray: what `jobs/render.py` does."""

from __future__ import annotations

import logging
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from model.overlay import OverlayStyle
from pipeline import storage
from pipeline.interrupt import interruptible, signal_name, take_signals_again
from pipeline.options import UsageError
from pipeline.raycluster import connect
from pipeline.reading import Clip, NoSuchRun, open_run
from pipeline.reading.choose import Choice, choose
from pipeline.render.draw import Between, RenderError
from pipeline.render.layouts import Layout
from pipeline.render.video import write_video

FINISHED, FAILED, STRICT_FAILED, INTERRUPTED = 0, 1, 3, 130
LOG_EVERY_S = 5.0
_CLIPS_A_LOOK = 256
_AHEAD = 2


@dataclass(frozen=True, slots=True)
class RenderOptions:
    """What `jobs/render.py` was asked to do.

    Attributes:
        run: the output of the run.
        output: the folder for `<clip_id>.mp4`.
        choice: which clips.
        layout, between: see `pipeline.render.draw_clip`.
        style: what an overlay draws.
        videos: the folder of relative `video_uri`s, where it is no longer the manifest's.
        strict: exit with 3 where a clip could not be drawn.

    Raises:
        UsageError: a value is out of its range; the message names the option.
    """

    run: str
    output: str
    choice: Choice = Choice()
    layout: Layout = "overlay"
    between: Between = "hold"
    style: OverlayStyle = OverlayStyle()
    videos: str | None = None
    strict: bool = False

    def __post_init__(self) -> None:
        for name, value, allowed in (("layout", self.layout, Layout), ("between", self.between, Between)):
            if value not in get_args(allowed):
                raise UsageError(f"--{name} {value}: expected one of {', '.join(get_args(allowed))}")
        if not 0 <= self.style.opacity <= 1:
            raise UsageError(f"--opacity {self.style.opacity}: expected a number from 0 to 1")


@dataclass(frozen=True, slots=True)
class Drawn:
    """How one clip ended: frames in its video, or why there is none."""

    clip_id: str
    frames: int = 0
    error: str | None = None


def render_run(options: RenderOptions) -> int:
    """Draws the chosen clips; returns the exit status (0, 1, 3 or 130).

    Raises:
        UsageError: exit status 2: something is unusable, found before any work started.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("botocore").setLevel(logging.WARNING)
    with interruptible():
        try:
            return _render(options)
        except KeyboardInterrupt:
            print(f"interrupted by {signal_name()}: videos that are finished stay", file=sys.stderr, flush=True)
            return INTERRUPTED


def _render(options: RenderOptions) -> int:
    try:
        run = open_run(options.run, videos=options.videos)
        chosen = choose(run, options.choice)
    except (NoSuchRun, storage.StorageError) as error:
        raise UsageError(f"--run: {error}") from error
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
    try:
        for drawn in _in_parallel(clips, output, options):
            rendered, failed = rendered + (drawn.error is None), failed + (drawn.error is not None)
            frames += drawn.frames
            if drawn.error is not None:
                print(f"failed: {drawn.error}", file=sys.stderr, flush=True)
            if time.monotonic() - last_line >= LOG_EVERY_S:
                last_line = time.monotonic()
                print(f"{rendered + failed}/{len(chosen)} clips, {failed} failed", file=sys.stderr, flush=True)
    except storage.StorageError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return FAILED
    print(
        f"{len(chosen)} clips: {rendered} drawn, {failed} failed; {frames} frames in {storage.redact(output)}",
        flush=True,
    )
    if not rendered:
        return FAILED
    return STRICT_FAILED if failed and options.strict else FINISHED


def _in_parallel(clips: Iterator[Clip], output: str, options: RenderOptions) -> Iterator[Drawn]:
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
                yield Drawn(clip_id, error=f"clip {clip_id}: the worker that drew it died twice ({kind})")


def draw_one(clip: Clip, output: str, options: RenderOptions) -> Drawn:
    """Draws one clip and puts its video into the output; what is wrong with the clip is in the answer."""
    with tempfile.TemporaryDirectory(prefix="siammask-render-") as folder:
        path = Path(folder) / f"{clip.clip_id}.mp4"
        try:
            video = write_video(
                clip, path, layout=options.layout, style=options.style, between=options.between
            )
            storage.upload_file(path, storage.join(output, path.name))
        except RenderError as error:
            return Drawn(clip.clip_id, error=str(error))
        except storage.StorageError as error:
            return Drawn(clip.clip_id, error=f"clip {clip.clip_id}: {error}")
    return Drawn(clip.clip_id, video.frames)
