"""MOT text: one box a line, `frame, id, left, top, width, height, active, class, visibility`.

Format: https://motchallenge.net/instructions: frames, and pixels, count from 1; an active flag of 0 marks a box that
is not to be used. The file is called gt/gt.txt in the folder of its sequence, or by its sequence's name. CVAT's
export (https://docs.cvat.ai/docs/dataset_management/formats/format-mot/) counts pixels from 0, and has the names of
the classes, from 1, in labels.txt beside it. An id of -1 is a detection.
"""

from __future__ import annotations

from pipeline.manifest_builder.label_files import LabelFile
from pipeline.manifest_builder.labelled_video import LabelError, LabelledBox, LabelledVideo, number, sized, whole
from pipeline.manifest_builder.text_rows import Row, rows_of
from pipeline.manifest_builder.tracks import Tracks

_FORM = "frame, id, left, top, width, height[, active, class, visibility]"


def is_mot(file: LabelFile) -> bool:
    """Whether its first lines are boxes with a frame and an id."""
    rows = rows_of(file, most=50)
    if not rows or not all(6 <= len(row.values) <= 10 and row.numbers is not None for row in rows):
        return False
    numbers = [row.numbers for row in rows if row.numbers]
    if not all(values[0].is_integer() and values[0] >= 0 and values[1].is_integer() for values in numbers):
        return False
    # Eight columns are also the corners of VOT: there the seventh is a coordinate and no flag.
    return all(len(values) != 8 or values[6] in (-1, 0, 1) for values in numbers)


def read_mot(file: LabelFile, notes: list[str]) -> list[LabelledVideo]:
    """Read the boxes of one sequence.

    Args:
        file: the text.
        notes: what was passed over is added here.

    Raises:
        LabelError: a line is no such line; names it.
    """
    tracks = Tracks(file.shown)
    classes = _classes(file)
    pixel = 0 if classes else 1
    rows = rows_of(file)
    for row in rows:
        if not 6 <= len(row.values) <= 10:
            raise LabelError(f"{row.where}: expected {_FORM}, got {row.text[:60]!r}")
    # A file that has a frame 0 counts from there.
    base = 0 if any(row.values[0] in ("0", "0.0") for row in rows) else 1
    inactive = 0
    for row in rows:
        frame = whole(row.values[0], row.where, "frame", least=base) - base
        track = str(int(number(row.values[1], row.where, "id")))
        x, y, w, h = (
            number(row.values[2 + i], row.where, name) for i, name in enumerate(("left", "top", "width", "height"))
        )
        if len(row.values) > 6 and number(row.values[6], row.where, "active") == 0:
            inactive += 1
            continue
        box = sized(LabelledBox(frame, x - pixel, y - pixel, w, h), row.where)
        tracks.add(None if track == "-1" else track, _label(row, classes), box, row.where)
    if inactive:
        notes.append(f"{file.shown}: {inactive} boxes that are marked as not to be used passed over")
    if base == 0:
        notes.append(f"{file.shown}: has a frame 0, so its frames were counted from 0 and not from 1")
    return [LabelledVideo((file.sequence,), file.shown, tracks.objects(notes))]


def _classes(file: LabelFile) -> list[str]:
    """The names in CVAT's labels.txt; none where there is no such file."""
    content = file.load("labels.txt")
    return [] if content is None else [name.strip() for name in content.decode("utf-8-sig", "replace").splitlines()]


def _label(row: Row, classes: list[str]) -> str | None:
    if not classes or len(row.values) < 8:
        return None
    position = int(number(row.values[7], row.where, "class")) - 1
    return classes[position] if 0 <= position < len(classes) and classes[position] else None
