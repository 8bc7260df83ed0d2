"""BDD100K and Scalabel: a list of frames, each with a videoName, a frameIndex from 0, and labels with box2d.

Format: https://doc.bdd100k.com/format.html: box2d has the corners x1, y1 and x2, y2 in pixels; an id is the same in
all frames.
"""

from __future__ import annotations

import posixpath
from typing import Any

from pipeline.manifest_builder.label_files import LabelFile
from pipeline.manifest_builder.labelled_video import LabelError, LabelledBox, LabelledVideo, number, sized, whole
from pipeline.manifest_builder.tracks import Tracks

_CORNERS = ("x1", "y1", "x2", "y2")


def is_bdd(file: LabelFile) -> bool:
    """Whether it is a list of frames with labels."""
    frames = _listed(file)
    keys = {"frameIndex", "videoName", "index"}
    return bool(frames) and all(
        isinstance(frame, dict) and "name" in frame and "labels" in frame and keys & frame.keys() for frame in frames
    )


def read_bdd(file: LabelFile, notes: list[str]) -> list[LabelledVideo]:
    """Read the frames, one video a videoName. Raises LabelError, which names the place in the document."""
    tracks: dict[str, Tracks] = {}
    pictures: dict[str, dict[int, str]] = {}
    others = 0
    for position, frame in enumerate(_listed(file)):
        where = f"{file.shown}: [{position}]"
        video = str(frame.get("videoName") or file.sequence)
        known = tracks.setdefault(video, Tracks(f"{file.shown} ({video})"))
        index = whole(frame.get("frameIndex", frame.get("index")), where, "frameIndex")
        pictures.setdefault(video, {})[index] = posixpath.splitext(posixpath.basename(str(frame["name"])))[0]
        for i, label in enumerate(frame["labels"] or []):
            place = f"{where}.labels[{i}]"
            box = label.get("box2d") if isinstance(label, dict) else None
            if not isinstance(label, dict):
                raise LabelError(f"{place}: expected a label, got {label!r}")
            if not isinstance(box, dict):
                others += 1
                continue
            left, top, right, bottom = (number(box.get(name), f"{place}.box2d", name) for name in _CORNERS)
            track, category = label.get("id"), label.get("category")
            known.add(
                None if track is None else str(track),
                None if category is None else str(category),
                sized(LabelledBox(index, left, top, right - left, bottom - top), place),
                place,
            )
    if others:
        notes.append(f"{file.shown}: {others} labels without a box2d passed over")
    return [
        LabelledVideo((video,), known.where, known.objects(notes), pictures=pictures[video])
        for video, known in tracks.items()
    ]


def _listed(file: LabelFile) -> list[Any]:
    document = file.document
    frames = document.get("frames") if isinstance(document, dict) and "objects" not in document else document
    return frames if isinstance(frames, list) else []
