"""The frames of a clip, as they are and with what its tables say drawn on them."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from model.video import VideoError, index_video
from model.video.overlay import OverlayStyle, colour_of
from pipeline.decode import Chunk, ClipRequest, DecodeSettings, Event, Failed, Opened
from pipeline.decode.staging import staged
from pipeline.decode.stream import stream
from pipeline.reading.clip_masks import ClipMasks
from pipeline.reading.options import Between, Layout
from pipeline.reading.picture_layouts import lay_out


class RenderError(Exception):
    """The clip cannot be shown; one sentence that names it and says why."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One picture.

    Attributes:
        index: the frame in the source video.
        pts_s: seconds after the source video's first frame.
        fps: the source video's average rate, 0 where it does not say.
        picture: uint8 [H, W, 3], RGB.
    """

    index: int
    pts_s: float
    fps: float
    picture: np.ndarray


def draw_masks(
    masks: ClipMasks,
    video: str | None,
    *,
    start: int | None = None,
    end: int | None = None,
    layout: Layout = "overlay",
    style: OverlayStyle | None = None,
    between: Between = "hold",
) -> Generator[Shown]:
    """The frames of a clip's range that decode, drawn, in order; `RunClip.drawn` of an opened run calls this.

    A frame is drawn with its own rows of `masks`. With a stride of n, the n - 1 frames after a tracked one have none:
    `hold` outlines the masks of that tracked frame there, `blank` draws nothing.

    Args:
        masks: the clip's rows.
        video: the absolute URI of its video; None where it cannot be told.
        start, end: a half-open range of source frames inside the clip's own.
        layout: see `pipeline.reading.picture_layouts`.
        style: what to draw, everything by default.
        between: what to draw between two tracked frames.

    Raises:
        RenderError: the video is not found, does not decode, or is another than the tracked one.
    """
    colours = {object_id: colour_of(i) for i, object_id in enumerate(masks.object_ids)}
    with contextlib.closing(source_frames(masks, video, start=start, end=end)) as frames:
        for shown in frames:
            past = (shown.index - masks.clip["start_frame"]) % masks.stride if between == "hold" else 0
            try:
                picture = lay_out(
                    shown.picture, masks.at(shown.index - past), colours, layout=layout, style=style, held=past > 0
                )
            except ValueError as error:
                raise RenderError(f"clip {masks.clip['clip_id']}, frame {shown.index}: {error}") from None
            yield replace(shown, picture=picture)


def source_frames(
    masks: ClipMasks, video: str | None, *, start: int | None = None, end: int | None = None, stride: int = 1
) -> Generator[Shown]:
    """The frames of a clip's range that decode, as they are, in order.

    Args:
        masks: the clip's rows.
        video: the absolute URI of its video; None where it cannot be told.
        start, end: a half-open range of source frames inside the clip's own.
        stride: every n-th of these, from the first.

    Raises:
        RenderError: the video is not found or does not decode.
    """
    row, clip_id = masks.clip, masks.clip["clip_id"]
    first, last = row["start_frame"], row["end_frame"]
    first = first if start is None else max(first, start)
    last = last if end is None else min(last, end)
    with contextlib.closing(_events(masks, video, first, last, stride)) as events:
        for event in events:
            if isinstance(event, Failed) and not _ends_as_tracked(row, event):
                raise RenderError(f"clip {clip_id}: its video does not decode ({event.stage}: {event.message})")
            if isinstance(event, Opened):
                fps = event.info.fps
            if isinstance(event, Chunk):
                for frame, index, pts_s in zip(event.frames, event.frame_index, event.pts_s, strict=True):
                    yield Shown(int(index), float(pts_s), fps, frame)


def count_frames(masks: ClipMasks, video: str | None) -> int:
    """How many frames a clip's video has; none is decoded.

    Raises:
        RenderError: the video is not found or cannot be read.
    """
    try:
        with staged(_known(masks, video)) as path:
            return index_video(path).frames
    except VideoError as error:
        raise RenderError(f"clip {masks.clip['clip_id']}: its video cannot be read ({error})") from error


def _known(masks: ClipMasks, video: str | None) -> str:
    if video is None:
        raise RenderError(
            f"clip {masks.clip['clip_id']}: the video {masks.clip['video_uri']!r} is seen from the manifest's folder, "
            "which is not known: name that folder (--videos, or open_run(…, videos=…))"
        )
    return video


def _events(masks: ClipMasks, video: str | None, start: int, end: int, stride: int) -> Generator[Event]:
    # PyAV never starts a clip over, so what has been drawn stays right.
    location, clip_id = _known(masks, video), masks.clip["clip_id"]
    request = ClipRequest(clip_id, location, start, end, stride=stride, decoder="pyav", max_corrupt=1.0)
    events = stream([request], DecodeSettings(in_process=True))
    with contextlib.closing(events):  # type: ignore[type-var]
        yield from events


def _ends_as_tracked(row: Mapping[str, Any], failed: Failed) -> bool:
    """Whether the video breaks off where it did when it was tracked: what came before is shown."""
    return row["status"] == "partial" and failed.keep_rows and failed.frames > 0
