"""LabelMe: one JSON a picture, its shapes with a label and a group_id, which is the object's id.

Format: https://github.com/wkentaro/labelme. The files of a folder are one video; the frame is the number in the
picture's name, from 0, and in a folder of pictures the picture of this name. Rectangles, polygons and masks give the
box around them.
"""

from __future__ import annotations

import posixpath
from collections import defaultdict
from typing import Any

from pipeline.manifest_builder.label_files import LabelFile
from pipeline.manifest_builder.labelled_video import LabelError, LabelledBox, LabelledVideo, sized
from pipeline.manifest_builder.tracks import Tracks, around, number_in

_SHAPES = ("rectangle", "polygon", "mask", "rotation")


def is_labelme(file: LabelFile) -> bool:
    """Whether it has shapes of a picture."""
    document = file.document
    return isinstance(document, dict) and "imagePath" in document and isinstance(document.get("shapes"), list)


def read_labelme(files: list[LabelFile], notes: list[str]) -> list[LabelledVideo]:
    """Read the files of all frames, those of a folder as one video. Raises LabelError, which names file and shape."""
    videos: dict[str, list[LabelFile]] = defaultdict(list)
    for file in files:
        videos[file.path.rpartition("/")[0]].append(file)
    out = []
    for members in videos.values():
        first = members[0]
        tracks = Tracks(first.shown)
        pictures = {}
        for file in members:
            name = posixpath.basename(str(file.document["imagePath"]).replace("\\", "/"))
            stem = posixpath.splitext(name)[0] or file.stem
            frame = number_in(stem)
            if frame is None:
                raise LabelError(f"{file.shown}: imagePath: expected the frame's number in the name, got {name!r}")
            pictures[frame] = stem
            for position, shape in enumerate(file.document["shapes"]):
                _add(shape, frame, tracks, f"{file.shown}: shapes[{position}]", notes)
        out.append(LabelledVideo((first.folder or first.stem,), first.shown, tracks.objects(notes), pictures=pictures))
    return out


def _add(shape: Any, frame: int, tracks: Tracks, where: str, notes: list[str]) -> None:
    kind = shape.get("shape_type", "polygon") if isinstance(shape, dict) else None
    if kind not in _SHAPES:
        notes.append(f"{where}: a shape without a box ({kind}) passed over")
        return
    try:
        bounds = around([(float(x), float(y)) for x, y in shape["points"]])
    except (KeyError, TypeError, ValueError):
        raise LabelError(f"{where}.points: expected a list of x, y, got {shape.get('points')!r}") from None
    track = shape.get("group_id")
    label = str(shape.get("label", "object"))
    tracks.add(None if track is None else str(track), label, sized(LabelledBox(frame, *bounds), where), where)
