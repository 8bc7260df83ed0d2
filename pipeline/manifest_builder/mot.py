"""MOT text: one box a line, `frame, id, left, top, width, height, active, class, visibility`.

Format: https://motchallenge.net/instructions: frames, and pixels, count from 1; an active flag of 0 marks a box that is
not to be used. The file is called gt/gt.txt in the folder of its sequence, or by its sequence's name.
"""

from __future__ import annotations

from pipeline.manifest_builder.files import LabelFile
from pipeline.manifest_builder.labels import (
    LabelError,
    LabelledBox,
    LabelledObject,
    LabelledVideo,
    number,
    sized,
    whole,
)

_FORM = "frame, id, left, top, width, height[, active, class, visibility]"


def read_mot(file: LabelFile, notes: list[str]) -> list[LabelledVideo]:
    """Read the boxes of one sequence.

    Args:
        file: the text.
        notes: what was passed over is added here.

    Raises:
        LabelError: a line is no such line; names it.
    """
    objects: dict[str, dict[int, LabelledBox]] = {}
    inactive = 0
    for number_of_line, line in enumerate(file.content.decode("utf-8-sig", "replace").splitlines(), start=1):
        where = f"{file.shown}:{number_of_line}"
        if not line.strip():
            continue
        values = [value.strip() for value in (line.split(",") if "," in line else line.split())]
        if not 6 <= len(values) <= 10:
            raise LabelError(f"{where}: expected {_FORM}, got {line.strip()[:60]!r}")
        frame = whole(values[0], where, "frame", least=1) - 1
        object_id = str(int(number(values[1], where, "id")))
        if object_id == "-1":
            raise LabelError(f"{where}: expected tracks with ids, got detections (id -1); give gt.txt, not det.txt")
        x, y, w, h = (number(values[2 + i], where, name) for i, name in enumerate(("left", "top", "width", "height")))
        if len(values) > 6 and number(values[6], where, "active") == 0:
            inactive += 1
            continue
        boxes = objects.setdefault(object_id, {})
        if frame in boxes:
            raise LabelError(f"{where}: expected one box an object and frame, got a second one of object {object_id}")
        boxes[frame] = sized(LabelledBox(frame, x - 1, y - 1, w, h), where)
    if inactive:
        notes.append(f"{file.shown}: {inactive} boxes that are marked as not to be used passed over")
    found = [LabelledObject(key, [boxes[frame] for frame in sorted(boxes)]) for key, boxes in objects.items()]
    return [LabelledVideo((file.sequence,), file.shown, tuple(found))]
