"""The backup of a CVAT task: annotations.json with tracks and shapes, task.json beside it.

Format: https://docs.cvat.ai/docs/workspace/backup/. Frames count through the task from 0: in the video they are
`start_frame` plus the step of `frame_filter` times that. All shapes of a track are key frames.
"""

from __future__ import annotations

import json
import re
from typing import Any

from pipeline.manifest_builder.label_files import LabelFile
from pipeline.manifest_builder.labelled_video import (
    LabelError,
    LabelledBox,
    LabelledObject,
    LabelledVideo,
    number,
    sized,
    whole,
)
from pipeline.manifest_builder.tracks import around

_STEP = re.compile(r"step=(\d+)")


def is_cvat_backup(file: LabelFile) -> bool:
    """Whether it is a list of jobs with tracks and shapes."""
    document = file.document
    return (
        isinstance(document, list)
        and bool(document)
        and all(isinstance(job, dict) and {"tracks", "shapes"} <= job.keys() for job in document)
    )


def read_cvat_backup(file: LabelFile, notes: list[str]) -> list[LabelledVideo]:
    """Read the tracks, and shapes that are not of a track as objects of one frame.

    Raises:
        LabelError: a value cannot be used; names its place in the document.
    """
    task = _task(file)
    data = task["data"] if isinstance(task.get("data"), dict) else {}
    start = whole(data.get("start_frame") or 0, file.shown, "start_frame")
    step = int(match[1]) if (match := _STEP.search(str(data.get("frame_filter", "")))) else 1
    objects: list[LabelledObject] = []
    others = 0
    for j, job in enumerate(file.document):
        for name in ("tracks", "shapes"):
            for i, item in enumerate(job[name]):
                where = f"{file.shown}: [{j}].{name}[{i}]"
                label = str(item.get("label", "object"))
                made = LabelledObject(f"{label}-{len(objects)}", category=label)
                shapes = item.get("shapes") or [] if name == "tracks" else [item, {**item, "outside": True}]
                for shape in shapes:
                    frame = start + step * whole(shape.get("frame"), where, "frame")
                    if shape.get("outside"):
                        made.ends.append(frame + (step if name == "shapes" else 0))
                        continue
                    box = _box(shape, frame, where)
                    if box is None:
                        others += 1
                    else:
                        made.boxes.append(box)
                if made.boxes:
                    objects.append(made)
    if others:
        notes.append(f"{file.shown}: {others} shapes without a box passed over")
    names = tuple(dict.fromkeys(name for name in (str(task.get("name") or ""), file.folder, file.sequence) if name))
    return [LabelledVideo(names, file.shown, tuple(objects))]


def _task(file: LabelFile) -> dict[str, Any]:
    try:
        task = json.loads(file.load("task.json") or b"{}")
    except ValueError as error:
        raise LabelError(f"{file.shown}: task.json beside it: expected JSON: {error}") from None
    return task if isinstance(task, dict) else {}


def _box(shape: dict[str, Any], frame: int, where: str) -> LabelledBox | None:
    points = [number(value, where, "points") for value in shape.get("points") or []]
    if shape.get("type") not in ("rectangle", "polygon") or len(points) < 4:
        return None
    bounds = around(list(zip(points[::2], points[1::2], strict=False)))
    angle = number(shape.get("rotation") or 0, where, "rotation") if shape["type"] == "rectangle" else 0.0
    return sized(LabelledBox(frame, *bounds, angle), where)
