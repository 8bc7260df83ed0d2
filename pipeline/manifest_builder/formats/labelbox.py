"""Labelbox's export of video labels: one JSON a line, with a data row and the frames of each label.

Format: https://docs.labelbox.com/reference/export-video-annotations. Frames count from 1; an object is a feature id,
which has a name and, on each frame, a bounding box in pixels.
"""

from __future__ import annotations

from typing import Any

from pipeline.manifest_builder.label_files import LabelFile
from pipeline.manifest_builder.labelled_video import LabelError, LabelledBox, LabelledVideo, number, sized, whole
from pipeline.manifest_builder.tracks import Tracks

_SIDES = ("left", "top", "width", "height")
_NAMES = ("global_key", "external_id", "row_data")


def is_labelbox(file: LabelFile) -> bool:
    """Whether its documents have a data row and projects."""
    rows = _rows(file)
    return bool(rows) and all(isinstance(row, dict) and {"data_row", "projects"} <= row.keys() for row in rows)


def read_labelbox(file: LabelFile, notes: list[str]) -> list[LabelledVideo]:
    """Read the data rows, one video each. Raises LabelError, which names the place in the document."""
    out = []
    for position, row in enumerate(_rows(file)):
        where = f"{file.shown}: [{position}]"
        data = row["data_row"] if isinstance(row["data_row"], dict) else {}
        names = tuple(dict.fromkeys(str(data[name]).split("?")[0] for name in _NAMES if data.get(name)))
        if not names:
            raise LabelError(f"{where}.data_row: expected a global_key or external_id, got {data!r}")
        labels = [
            label
            for project in (row["projects"] or {}).values()
            for label in (project.get("labels") if isinstance(project, dict) else None) or []
        ]
        if len(labels) > 1:
            notes.append(f"{where} ({names[0]}): {len(labels)} labels; took the first")
        tracks = Tracks(f"{where} ({names[0]})")
        for label in labels[:1]:
            annotations = label.get("annotations") or {}
            keys = annotations.get("key_frame_feature_map") or {}
            for frame, content in (annotations.get("frames") or {}).items():
                _frame(whole(frame, where, "frame", least=1) - 1, content, keys, tracks, f"{where}.frames[{frame}]")
        out.append(LabelledVideo(names, tracks.where, tracks.objects(notes)))
    return out


def _frame(frame: int, content: dict[str, Any], keys: dict[str, Any], tracks: Tracks, where: str) -> None:
    for feature, item in (content.get("objects") or {}).items():
        bounds = item.get("bounding_box") if isinstance(item, dict) else None
        if not isinstance(bounds, dict):
            continue
        x, y, w, h = (number(bounds.get(side), f"{where}.{feature}.bounding_box", side) for side in _SIDES)
        drawn = frame + 1 in map(int, keys[feature]) if keys.get(feature) else True
        label = str(item.get("name") or item.get("value") or "object")
        tracks.add(str(feature), label, sized(LabelledBox(frame, x, y, w, h, drawn=drawn), where), where)


def _rows(file: LabelFile) -> list[Any]:
    document = file.document
    return document if isinstance(document, list) else [document]
