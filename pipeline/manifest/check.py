"""One manifest row: from the values of its columns to a `Clip`, or to everything that is wrong with it.

Pure functions on plain values, whatever the file was; nothing here knows Ray, Arrow or CSV.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.clip import ID_PATTERN, Clip, default_clip_id
from pipeline.manifest.objects import FrameRange, check_objects
from pipeline.manifest.problems import Problem, show
from pipeline.manifest.values import number, text, whole
from pipeline.storage.access import require_named_host
from pipeline.storage.errors import StorageError
from pipeline.storage.redact import redact
from pipeline.storage.uris import SCHEMES, resolve

RANGE_COLUMNS = ("start_frame", "end_frame", "start_s", "end_s")
CLIP_COLUMNS = frozenset(("video_uri", "clip_id", "fps", *RANGE_COLUMNS, "objects"))


@dataclass(frozen=True, slots=True)
class Rules:
    """What a row is checked against.

    Args:
        folder: URI of the folder that a relative `video_uri` is seen from: the manifest file's own.
        stride: Every n-th frame is tracked, from the clip's first.
        keep: Columns whose values are copied into the clip.
    """

    folder: str
    stride: int = 1
    keep: tuple[str, ...] = ()


def check_row(row: Mapping[str, Any], rules: Rules) -> Clip | list[Problem]:
    """Check one row.

    Args:
        row: Values by column, as JSON has them; a column that is None counts as absent.
        rules: What to check against.

    Returns:
        The clip, or every problem of the row (without its place in the file).
    """
    problems: list[Problem] = []
    uri = row.get("video_uri")
    if uri is None:
        problems.append(Problem("video_uri", "the URI of a video", show(uri)))
    uri = text(uri, "video_uri", problems)
    location = "" if uri is None else _locate(uri, rules.folder, problems)
    given_id = check_id(row.get("clip_id"), problems)
    before = len(problems)
    ends = check_range(row, problems)
    start, end, start_s, end_s = ends
    # Init frames are only compared with a range that is good.
    known = start_s is None and end_s is None and len(problems) == before
    frames = FrameRange((start or 0) if known else None, end if known else None, rules.stride)
    objects = check_objects(row.get("objects"), frames, problems)
    fps = number(row.get("fps"), "fps", problems)
    if fps is not None and not fps > 0:
        problems.append(Problem("fps", "more than 0 frames a second", show(fps)))
    if problems or uri is None:
        return problems
    keep = {name: row.get(name) for name in rules.keep}
    return Clip(given_id or default_clip_id(uri, *ends, location=location), uri, location, *ends, objects, keep, fps)


def check_id(value: Any, problems: list[Problem]) -> str | None:
    """A `clip_id` that is allowed, or None where it is absent or bad."""
    clip_id = text(value, "clip_id", problems)
    if clip_id is not None and ID_PATTERN.fullmatch(clip_id) is None:
        problems.append(Problem("clip_id", "1 to 200 characters of A-Z a-z 0-9 . _ -", show(clip_id)))
        return None
    return clip_id


def check_range(
    row: Mapping[str, Any], problems: list[Problem]
) -> tuple[int | None, int | None, float | None, float | None]:
    """The clip's range: `start_frame`, `end_frame`, `start_s`, `end_s`: half-open, frames or seconds."""
    before = len(problems)
    start = whole(row.get("start_frame"), "start_frame", problems)
    end = whole(row.get("end_frame"), "end_frame", problems)
    start_s = number(row.get("start_s"), "start_s", problems)
    end_s = number(row.get("end_s"), "end_s", problems)
    if start_s is None and end_s is None:
        if end is not None and end <= (start or 0):
            problems.append(Problem("end_frame", f"a frame after start_frame {start or 0}", show(end)))
        return start, end, None, None
    if len(problems) == before and (start is not None or end is not None):
        given = [name for name in RANGE_COLUMNS if row.get(name) is not None]
        problems.append(Problem(given[-1], "a range in frames or in seconds", " and ".join(given)))
    if start_s is not None and start_s < 0:
        problems.append(Problem("start_s", "0 or more", show(start_s)))
    elif end_s is not None and end_s <= (start_s or 0):
        problems.append(Problem("end_s", f"a time after start_s {start_s or 0}", show(end_s)))
    return start, end, start_s, end_s


def _locate(uri: str, folder: str, problems: list[Problem]) -> str:
    try:
        location = resolve(folder, uri)
        require_named_host(location)
        return location
    except StorageError as error:
        problems.append(Problem("video_uri", SCHEMES, f"{show(redact(uri))}: {error.cause}"))
        return ""
