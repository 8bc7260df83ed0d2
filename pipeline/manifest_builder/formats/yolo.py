"""YOLO text: a file a frame, one box a line: `class x y w h [confidence] [id]`, fractions of the frame.

Format: https://docs.ultralytics.com/datasets/detect/; with ids as `yolo track save_txt=True` writes them. The frame
is the number at the end of the file's name: `clip_12.txt` is the 12th frame of clip, counted from 1 as Ultralytics
counts the frames of a video; numbers with leading zeros, as CVAT's `frame_000012.txt`, count from 0. More values than
these are a polygon.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import NamedTuple

from pipeline.manifest_builder.label_files import LabelFile
from pipeline.manifest_builder.labelled_video import LabelError, LabelledBox, LabelledVideo, sized
from pipeline.manifest_builder.text_rows import Row, rows_of
from pipeline.manifest_builder.tracks import Tracks, around

_NUMBERED = re.compile(r"(.*?)[_.-]?(\d+)")
_CLASS_FILES = ("classes.txt", "obj.names", "data.yaml")
_NAMES = re.compile(r"^\s*(\d+)\s*:\s*['\"]?(.*?)['\"]?\s*$", re.MULTILINE)
_LIST = re.compile(r"names\s*:\s*\[(.*?)\]", re.DOTALL)
_FORM = "class, x, y, w, h as fractions of the frame, and an id"


def is_yolo(file: LabelFile) -> bool:
    """Whether its first lines are a class and fractions."""
    rows = rows_of(file, most=50)
    return bool(rows) and all(_parsed(row) is not None for row in rows)


class _Box(NamedTuple):
    label: int
    track: str | None
    xywh: tuple[float, float, float, float]


def read_yolo(files: list[LabelFile], notes: list[str]) -> list[LabelledVideo]:
    """Read the files of all frames; those whose names differ by the number alone are one video.

    Raises:
        LabelError: a line is no such line; or boxes of several frames have no ids.
    """
    videos: dict[tuple[str, str], list[tuple[int, LabelFile]]] = defaultdict(list)
    for file in files:
        match = _NUMBERED.fullmatch(file.stem)
        prefix, digits = match.groups() if match else (file.stem, "")
        base = 1 if digits and not digits.startswith("0") and prefix else 0
        videos[file.path.rpartition("/")[0], prefix].append((int(digits or 0) - base, file))
    out = []
    for (_, prefix), members in videos.items():
        members.sort(key=lambda member: member[0])
        first = members[0][1]
        tracks = Tracks(first.shown)
        classes = _classes(first)
        for frame, file in members:
            for row in rows_of(file):
                parsed = _parsed(row)
                if parsed is None:
                    raise LabelError(f"{row.where}: expected {_FORM}, got {row.text[:60]!r}")
                x, y, w, h = (100 * value for value in parsed.xywh)
                box = sized(LabelledBox(frame, x, y, w, h), row.where)
                tracks.add(parsed.track, classes.get(parsed.label, f"class{parsed.label}"), box, row.where)
        generic = prefix.lower() in ("", "frame", "img", "image")
        names = tuple(name for name in ("" if generic else prefix, first.folder, first.stem) if name)
        pictures = {frame: file.stem for frame, file in members}
        out.append(LabelledVideo(names, first.shown, tracks.objects(notes), "percent", pictures=pictures))
    return out


def _parsed(row: Row) -> _Box | None:
    values = row.numbers
    if values is None or len(values) < 5 or not values[0].is_integer() or values[0] < 0:
        return None
    label, rest = int(values[0]), values[1:]
    track = None
    if len(rest) > 4 and rest[-1].is_integer() and (len(rest) % 2 or len(rest) == 6):
        track = str(int(rest.pop()))
    if not all(-0.01 <= value <= 1.01 for value in rest):
        return None
    if len(rest) > 5:
        points = rest[: len(rest) // 2 * 2]
        return _Box(label, track, around(list(zip(points[::2], points[1::2], strict=True))))
    x, y, w, h = rest[:4]
    return _Box(label, track, (x - w / 2, y - h / 2, w, h))


def _classes(file: LabelFile) -> dict[int, str]:
    for folder in ("", "../", "../../"):
        for name in _CLASS_FILES:
            content = file.load(folder + name)
            if content is None:
                continue
            text = content.decode("utf-8-sig", "replace")
            if not name.endswith(".yaml"):
                return dict(enumerate(line.strip() for line in text.splitlines() if line.strip()))
            listed = _LIST.search(text)
            if listed:
                return dict(enumerate(part.strip(" '\"\n") for part in listed[1].split(",")))
            return {int(key): value for key, value in _NAMES.findall(text)}
    return {}
