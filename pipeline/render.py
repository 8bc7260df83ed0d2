"""Overlay video of one clip: its frames with what the tables say drawn on them."""

from __future__ import annotations

import contextlib
import posixpath
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from model.overlay import OverlayStyle, TrackedObject, colour_of, draw_objects
from model.video_writer import VideoWriter
from pipeline import storage
from pipeline.decode import Chunk, ClipRequest, DecodeSettings, Failed, Opened
from pipeline.frames import stream

_DRAWN = ["object_id", "score", "mask", "corners"]


class RenderError(Exception):
    """The clip cannot be shown; one sentence that names it and says why."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """An overlay video: its size in pixels, its number of frames, and its nominal rate."""

    path: Path
    width: int
    height: int
    frames: int
    fps: float


@dataclass(frozen=True, slots=True)
class ClipMasks:
    """One clip's rows of the `masks` table, found by frame.

    Attributes:
        clip: the clip's row of the `clips` table.
        table: its rows of the `masks` table, sorted by frame_index, then object_id.
    """

    clip: dict[str, Any]
    table: pa.Table

    @property
    def object_ids(self) -> list[str]:
        """The clip's objects, in order of their ids."""
        return sorted(pc.unique(self.table["object_id"]).to_pylist())

    def at(self, frame_index: int) -> list[TrackedObject]:
        """The objects of a frame, none where the tables have no row for it."""
        index = self.table["frame_index"].to_numpy()
        start, end = np.searchsorted(index, [frame_index, frame_index + 1])
        return [TrackedObject(**row) for row in self.table.select(_DRAWN).slice(start, end - start).to_pylist()]


def read_clip(output: str, clip_id: str) -> ClipMasks:
    """Reads one clip's rows from an output folder, local or in object storage.

    Raises:
        RenderError: the output has no such clip, or the clip failed and so has no masks.
        StorageError: the tables cannot be read.
    """
    where = storage.join(output, "clips")
    filesystem, path = storage.filesystem_for(where)
    with storage.reporting(where, "read"):
        clips = ds.dataset(path, filesystem=filesystem, format="parquet")
        found = clips.to_table(filter=pc.field("clip_id") == clip_id).to_pylist()
    if not found:
        raise RenderError(f"clip {clip_id}: {output} has no clip of this id")
    clip = found[0]
    if clip["status"] == "failed":
        raise RenderError(f"clip {clip_id}: it failed ({clip['error_stage']}: {clip['error_message']})")
    where = storage.join(output, "masks", posixpath.basename(clip["masks_part"]))
    filesystem, path = storage.filesystem_for(where)
    with storage.reporting(where, "read"):
        table = pq.read_table(path, filesystem=filesystem, filters=[("clip_id", "==", clip_id)])
    return ClipMasks(clip, table.sort_by([("frame_index", "ascending"), ("object_id", "ascending")]))


def render_clip(
    output: str, clip_id: str, video_location: str, target: Path, style: OverlayStyle | None = None
) -> Rendered:
    """Writes the overlay video of a clip: every frame of its range, at the source's own size, times and rate.

    Args:
        output: URI of the folder with the tables.
        clip_id: the clip.
        video_location: absolute URI of the clip's video.
        target: the MP4 to write.
        style: what to draw, everything by default.

    Raises:
        RenderError: no such clip, a failed clip, or a video that does not decode or is another than the tracked one.
        StorageError: the tables cannot be read.
    """
    masks = read_clip(output, clip_id)
    colours = {object_id: colour_of(i) for i, object_id in enumerate(masks.object_ids)}
    events = stream([_request(masks.clip, video_location)], DecodeSettings(in_process=True))
    with contextlib.closing(events), contextlib.ExitStack() as opened:  # type: ignore[type-var]
        for event in events:
            if isinstance(event, Failed):
                raise RenderError(f"clip {clip_id}: its video does not decode ({event.stage}: {event.message})")
            if isinstance(event, Opened):
                info = event.info
                writer = opened.enter_context(VideoWriter(target, info.fps))
            if isinstance(event, Chunk):
                for frame, index, pts_s in zip(event.frames, event.frame_index, event.pts_s, strict=True):
                    try:
                        drawn = draw_objects(frame, masks.at(int(index)), colours, style)
                    except ValueError as error:
                        raise RenderError(f"clip {clip_id}, frame {index}: {error}") from None
                    writer.write(drawn, float(pts_s))
    return Rendered(target, info.width, info.height, writer.frames, info.fps)


def _request(clip: dict[str, Any], video_location: str) -> ClipRequest:
    """Every frame of the clip's range, by PyAV, which never starts a clip over."""
    start, end = clip["start_frame"], clip["end_frame"]
    return ClipRequest(clip["clip_id"], video_location, start, end, decoder="pyav", max_corrupt=1.0)
