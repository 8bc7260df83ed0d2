"""One clip as a video that browsers play."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path

from model.video.overlay import OverlayStyle
from model.video.writer import VideoWriter
from pipeline import storage
from pipeline.reading import NotInRun, RunClip, open_run
from pipeline.reading.draw import RenderError
from pipeline.reading.options import Between, Layout

_USUAL_FPS = 25.0


@dataclass(frozen=True, slots=True)
class Rendered:
    """An overlay video: its pictures' size in pixels, their number, and its nominal rate."""

    path: Path
    width: int
    height: int
    frames: int
    fps: float


def write_video(
    clip: RunClip,
    target: Path,
    *,
    layout: Layout = "overlay",
    style: OverlayStyle | None = None,
    between: Between = "hold",
) -> Rendered:
    """Writes every frame of a clip's range that decodes, at the source's own size, times and rate.

    Args:
        clip: as `open_run(uri).clip(id)` gives it.
        target: the MP4 to write; it appears when it is whole.
        layout, style, between: as for `RunClip.drawn`.

    Raises:
        RenderError: the clip failed, as `RunClip.drawn` has it, or none of the frames decodes.
        StorageError: the tables cannot be read.
    """
    if clip.row["status"] == "failed":
        raise RenderError(
            f"clip {clip.clip_id}: it has no masks, since it failed "
            f"({clip.row['error_stage']}: {clip.row['error_message']})"
        )
    with contextlib.ExitStack() as opened:
        writer = None
        pictures = opened.enter_context(contextlib.closing(clip.drawn(layout=layout, style=style, between=between)))
        for shown in pictures:
            if writer is None:
                fps = shown.fps or _USUAL_FPS
                writer = opened.enter_context(VideoWriter(target, fps))
                height, width = shown.picture.shape[:2]
            writer.write(shown.picture, shown.pts_s)
    if writer is None:
        raise RenderError(f"clip {clip.clip_id}: none of its frames decodes")
    return Rendered(target, width, height, writer.frames, fps)


def render_clip(
    output: str, clip_id: str, video_location: str, target: Path, style: OverlayStyle | None = None
) -> Rendered:
    """Writes the overlay video of one clip whose video is known to be at `video_location`.

    Raises:
        RenderError: there is no such run or clip, or as `write_video` has it.
        StorageError: the tables cannot be read.
    """
    try:
        clip = open_run(output).clip(clip_id)
    except NotInRun as error:
        raise RenderError(str(error)) from None
    return write_video(replace(clip, video=storage.parse(video_location).uri), target, style=style)
