"""The row of `clips` that every clip ends as, in its actor or without one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pipeline.clip import Clip
from pipeline.decode.events import Opened
from pipeline.storage.redact import redact


@dataclass(frozen=True, slots=True)
class ClipError:
    """Why a clip has failed or is cut short: the `error_` columns of `clips`."""

    stage: str
    error_type: str
    message: str


@dataclass(frozen=True, slots=True)
class ClipEnding:
    """How far a clip came; as it stands, the ending of a clip of which nothing was done.

    Attributes:
        status: "ok", "partial" or "failed".
        error: None where the status is "ok".
        opened: the clip's range and video, None where the video was not opened.
        frames: decoded frames that were tracked.
        corrupt_frames: frames of the range that could not be decoded.
        decoder: the decoder that gave the last frame; None is the one that opened the video.
        decode_wait_s: seconds that the tracker waited for the clip's frames.
        tracks: rows of `clips.tracks`; None where the clip has no mask rows.
    """

    status: str = "failed"
    error: ClipError | None = None
    opened: Opened | None = None
    frames: int = 0
    corrupt_frames: int = 0
    decoder: str | None = None
    decode_wait_s: float = 0.0
    tracks: list[dict[str, Any]] | None = None


def clip_row(clip: Clip, ending: ClipEnding, *, started_at: datetime, model: str, precision: str) -> Mapping[str, Any]:
    """Return the row of `clips`, ended now, without the columns that `PartWriter` fills in.

    What only the video could tell is None where it was not opened.
    """
    opened, error = ending.opened, ending.error
    info = opened.info if opened else None
    row = {
        "clip_id": clip.clip_id,
        "video_uri": _shown(clip),
        "status": ending.status,
        "error_stage": error.stage if error else None,
        "error_type": error.error_type if error else None,
        "error_message": error.message if error else None,
        "objects": len({start.object_id for start in clip.objects}),
        "frames": ending.frames,
        "corrupt_frames": ending.corrupt_frames,
        "start_frame": opened.start_frame if opened else clip.start_frame,
        "end_frame": opened.end_frame if opened else clip.end_frame,
        "decoder": ending.decoder or (info.decoder if info else None),
        "tracks": ending.tracks,
        "started_at": started_at,
        "finished_at": datetime.now(UTC),
        "decode_wait_s": ending.decode_wait_s,
        "model": model,
        "precision": precision,
        "clip_hash": clip.clip_hash,
    }
    columns = ("fps", "timing", "width", "height", "rotation", "mirrored", "codec")
    video = {name: getattr(info, name) if info else None for name in columns}
    return {**row, **video, **clip.keep}


def _shown(clip: Clip) -> str:
    """The video's URI as written, without what may be secret in it; a relative one may be of a manifest on the web."""
    path, query, _ = clip.video_uri.partition("?")
    if query and clip.video_location.startswith("https://"):
        return f"{path}?***"
    return redact(clip.video_uri)
