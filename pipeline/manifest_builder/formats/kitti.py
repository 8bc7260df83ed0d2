"""KITTI tracking: one box a line, `frame id type truncated occluded alpha left top right bottom h w l x y z ry`.

Format: https://www.cvlibs.net/datasets/kitti/eval_tracking.php (readme of its development kit). Frames count from 0;
`DontCare` regions have the id -1. The file is called by its sequence.
"""

from __future__ import annotations

from pipeline.manifest_builder.label_files import LabelFile
from pipeline.manifest_builder.labelled_video import LabelError, LabelledBox, LabelledVideo, number, sized, whole
from pipeline.manifest_builder.text_rows import Row, rows_of
from pipeline.manifest_builder.tracks import Tracks

_LENGTHS = (17, 18)
_IGNORED = "DontCare"


def is_kitti(file: LabelFile) -> bool:
    """Whether its first lines have frame, id and type."""
    rows = rows_of(file, most=50)
    return bool(rows) and all(_fits(row) for row in rows)


def read_kitti(file: LabelFile, notes: list[str]) -> list[LabelledVideo]:
    """Read the boxes of one sequence. Raises LabelError, which names the line."""
    tracks = Tracks(file.shown)
    for row in rows_of(file):
        if not _fits(row):
            raise LabelError(f"{row.where}: expected frame, id, type, … in 17 values, got {row.text[:60]!r}")
        label = row.values[2]
        if label == _IGNORED:
            continue
        frame = whole(row.values[0], row.where, "frame")
        left, top, right, bottom = (number(value, row.where, "box") for value in row.values[6:10])
        box = sized(LabelledBox(frame, left, top, right - left, bottom - top), row.where)
        tracks.add(None if row.values[1] == "-1" else row.values[1], label, box, row.where)
    return [LabelledVideo((file.sequence,), file.shown, tracks.objects(notes))]


def _fits(row: Row) -> bool:
    values = row.values
    return (
        len(values) in _LENGTHS and values[0].isdigit() and values[1].lstrip("-").isdigit() and values[2][0].isalpha()
    )
