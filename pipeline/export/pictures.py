"""A clip's frames as JPEG files, where a format has its pictures."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np

from pipeline.export.errors import ExportError
from pipeline.export.export_clip import ExportClip
from pipeline.export.options import OF_SINGLE_FRAMES, PICTURES, ExportOptions
from pipeline.export.sink import Sink
from pipeline.reading.draw import RenderError, source_frames

_QUALITY = 95
_FRAMES_AT_ONCE = 16


def write_pictures(sink: Sink, clip: ExportClip, options: ExportOptions) -> ExportClip:
    """Writes the pictures of a clip's frames, a few at a time; returns the clip with the frames that have one.

    A frame that does not decode has none. In the formats of single frames those without an object are left out, unless
    `options.all_frames` asks for them: nobody said that there is nothing to see in them.

    Raises:
        RenderError: the video is not found or does not decode.
        ExportError: its frames are of another size than the tracked ones.
        StorageError: a file cannot be written.

    After one of the first two no picture of the clip is left.
    """
    wanted = set(clip.frames)
    if options.format in OF_SINGLE_FRAMES and not options.all_frames:
        wanted = set(clip.frames_with_objects())
    written: dict[int, str] = {}
    waiting: dict[str, bytes] = {}
    try:
        for frame, picture in _frames(clip, wanted):
            written[frame] = PICTURES[options.format].format(
                split=clip.split, clip_id=clip.clip_id, frame=frame, number=len(written) + 1
            )
            waiting[written[frame]] = _jpeg(picture)
            if len(waiting) == _FRAMES_AT_ONCE:
                sink.put(waiting)
                waiting = {}
        sink.put(waiting)
    except (RenderError, ExportError):
        sink.remove(written.values())
        raise
    return replace(clip, pictured=tuple(written))


def _frames(clip: ExportClip, wanted: set[int]) -> Iterator[tuple[int, np.ndarray]]:
    """The wanted frames that decode, with their indices in the source video, in order."""
    if not wanted:
        return
    frames = source_frames(clip.tracks, clip.video, start=min(wanted), end=max(wanted) + 1, stride=clip.stride)
    with contextlib.closing(frames):
        for shown in frames:
            if shown.picture.shape[:2] != clip.size:
                (height, width), (old_height, old_width) = shown.picture.shape[:2], clip.size
                raise ExportError(
                    f"clip {clip.clip_id}, frame {shown.index}: its video has {width}x{height} pixels, tracked were "
                    f"{old_width}x{old_height}: it is another video"
                )
            if shown.index in wanted:
                yield shown.index, shown.picture


def _jpeg(picture: np.ndarray) -> bytes:
    """A picture, uint8 [H, W, 3] RGB, as JPEG."""
    _, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return data.tobytes()
