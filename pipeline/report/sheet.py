"""What a report shows of one clip: a contact sheet of its frames with the tracks drawn, and its curves."""

from __future__ import annotations

import base64
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from model.video.contact_sheet import spread
from model.video.overlay import OverlayStyle, TrackedObject, colour_of, draw_objects
from pipeline import storage
from pipeline.decode import Chunk, ClipRequest, DecodeLimits, DecodeSettings, Failed
from pipeline.decode.stream import stream
from pipeline.output.video_place import find_video
from pipeline.report.curves import draw_curves
from pipeline.report.tracks import ClipTracks, FrameRows, read_frames, read_tracks

FRAMES = 4
"""Frames of a contact sheet."""
FRAME_BOX = (360, 270)
"""A frame is made smaller, never larger, to fit into this width and height."""
CLIP_WITHIN_S = 15.0
FETCHED_BYTES = 1 << 30
"""A larger video is not fetched from object storage for the sake of a few frames."""
_JPEG_QUALITY = 80
_NEVER_READ = {"manifest", "fetch", "open", "actor", "Timeout", "WorkerCrashed"}
"""Where a clip failed at one of these stages or by one of these errors, its video is absent, unreadable or harmful."""


@dataclass(slots=True)
class ShownFrame:
    """One frame: a JPEG as a data URI, its size in pixels, its index in the video and its time in seconds."""

    frame_index: int
    pts_s: float
    width: int
    height: int
    data_uri: str


@dataclass(slots=True)
class ShownObject:
    """What is said of one object; `colour` is its number in the palette, `mean_presence` None where it is not known."""

    object_id: str
    colour: int
    rows: int
    mean_score: float
    least_score: float
    lost_rows: int
    mean_presence: float | None
    mean_area: float
    category: str | None = None


@dataclass(slots=True)
class ShownClip:
    """A clip of the gallery.

    Attributes:
        clip: its row of `clips`.
        frames: its contact sheet, empty where there is none.
        curves: an `<svg>` element, "" where there is none.
        objects: those with curves, and `more_objects` without.
        notes: why something is not there, as sentences.
    """

    clip: dict[str, Any]
    frames: list[ShownFrame] = field(default_factory=list)
    curves: str = ""
    objects: list[ShownObject] = field(default_factory=list)
    more_objects: int = 0
    notes: list[str] = field(default_factory=list)


def show_clip(output: str, clip: dict[str, Any], folders: Sequence[str]) -> ShownClip:
    """Draw one clip. What goes wrong becomes a note; nothing is raised.

    Args:
        output: URI of the output folder.
        clip: its row of `clips`.
        folders: from which of these a relative `video_uri` is seen is found out by looking.
    """
    shown = ShownClip(clip)
    tracks = ClipTracks()
    if clip["status"] != "failed":
        try:
            tracks = read_tracks(output, clip)
            _add_curves(shown, tracks)
        except Exception as error:
            shown.notes.append(f"The clip's rows cannot be read: {error}")
    if clip["status"] == "failed" and _NEVER_READ & {clip["error_stage"], clip["error_type"]}:
        return shown
    try:
        chosen = _choose(clip, tracks)
        rows = read_frames(output, clip, chosen) if tracks.object_ids else {}
        location = find_video(clip["video_uri"], folders)
        if location is None:
            where = f"in none of {', '.join(folders)}" if folders else "relative to a manifest that is not known"
            shown.notes.append(f"No frame is shown: {clip['video_uri']} is {where}")
            return shown
        _add_frames(shown, chosen, rows, tracks.object_ids, location)
    except Exception as error:
        shown.notes.append(f"The frames cannot be shown: {error}")
    return shown


def thumbnail(
    frame: NDArray[np.uint8], objects: Sequence[TrackedObject], colours: dict[str, tuple[int, int, int]]
) -> NDArray[np.uint8]:
    """The frame made to fit `FRAME_BOX`, then its objects drawn, so that lines stay crisp: uint8 [h, w, 3], RGB.

    Raises:
        ValueError: a mask is not of the frame's size.
    """
    height, width = frame.shape[:2]
    scale = min(1.0, FRAME_BOX[0] / width, FRAME_BOX[1] / height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    fitted = [_fitted(item, (height, width), size) for item in objects]
    return draw_objects(small, fitted, colours, OverlayStyle(label=False)).astype(np.uint8)


def _fitted(item: TrackedObject, frame: tuple[int, int], size: tuple[int, int]) -> TrackedObject:
    if tuple(item.mask["size"]) != frame:  # type: ignore[arg-type]
        raise ValueError(
            f"object {item.object_id} has a mask of {item.mask['size']} (height, width) and the frame is "
            f"{list(frame)}: it is another video than the one that was tracked"
        )
    mask = cv2.resize(255 * coco.decode(dict(item.mask)), size, interpolation=cv2.INTER_AREA) > 127
    factors = np.tile([size[0] / frame[1], size[1] / frame[0]], 4)
    corners = np.asarray(item.corners, np.float64) * factors
    return replace(item, mask=coco.encode(np.asfortranarray(mask, np.uint8)), corners=corners)


def _add_curves(shown: ShownClip, tracks: ClipTracks) -> None:
    clip = shown.clip
    categories = {track["object_id"]: track["category"] for track in clip.get("tracks") or ()}
    shown.more_objects = len(tracks.object_ids) - len(tracks.curves)
    for position, curve in enumerate(tracks.curves):
        weights = curve.rows_in_bin
        shown.objects.append(
            ShownObject(
                curve.object_id,
                position,
                curve.rows,
                round(float(np.average(curve.score, weights=weights)), 4),
                round(curve.least_score, 4),
                curve.lost_rows,
                None if curve.mean_presence is None else round(curve.mean_presence, 4),
                round(float(np.average(curve.area, weights=weights)), 1),
                categories.get(curve.object_id),
            )
        )
    if tracks.curves:
        shown.curves = draw_curves(
            clip["clip_id"],
            tracks.curves,
            first_frame=clip["start_frame"],
            end_frame=clip["end_frame"],
            frame_pixels=clip["width"] * clip["height"],
            marked=spread(tracks.frames, FRAMES),
        )


def _choose(clip: dict[str, Any], tracks: ClipTracks) -> list[int]:
    """Frames with rows; of a clip without any, frames of its range, or the first where its end is not known."""
    if tracks.frames:
        return spread(tracks.frames, FRAMES)
    start = clip["start_frame"] or 0
    return spread(range(start, clip["end_frame"] or start + 1), FRAMES)


def _add_frames(
    shown: ShownClip, chosen: Sequence[int], rows: dict[int, FrameRows], object_ids: Sequence[str], location: str
) -> None:
    colours = {object_id: colour_of(position) for position, object_id in enumerate(object_ids)}
    deadline = time.monotonic() + CLIP_WITHIN_S
    limits = DecodeLimits(
        max_file_bytes=DecodeLimits().max_file_bytes if storage.parse(location).is_local else FETCHED_BYTES,
        max_clip_seconds=CLIP_WITHIN_S,
    )
    requests = [
        ClipRequest(shown.clip["clip_id"], location, start, start + 1, decoder="pyav", max_corrupt=1.0)
        for start in chosen
    ]
    events = stream(requests, DecodeSettings(limits=limits, in_process=True))
    with contextlib.closing(events):  # type: ignore[type-var]
        for event in events:
            if isinstance(event, Chunk):
                index = int(event.frame_index[0])
                frame_rows = rows.get(index, FrameRows(float(event.pts_s[0])))
                shown.frames.append(
                    _encode(thumbnail(event.frames[0], frame_rows.objects, colours), index, frame_rows.pts_s)
                )
            elif isinstance(event, Failed):
                shown.notes.append(f"{'No frame' if not shown.frames else 'Not every frame'} is shown: {event.message}")
                return
            if time.monotonic() > deadline:
                shown.notes.append(f"Not every frame is shown: decoding took longer than {CLIP_WITHIN_S:.0f} s.")
                return


def _encode(image: NDArray[np.uint8], index: int, pts_s: float) -> ShownFrame:
    _, data = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    uri = "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
    return ShownFrame(index, pts_s, image.shape[1], image.shape[0], uri)
