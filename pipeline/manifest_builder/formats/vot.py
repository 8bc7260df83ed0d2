"""Ground truth of single-object trackers: one line a frame, x, y, w, h or the corners of a rotated box.

VOT (https://www.votchallenge.net/vot2016/participation.html), GOT-10k and LaSOT call the file groundtruth.txt in the
folder of its sequence, OTB groundtruth_rect.txt, with a number where a sequence has several objects; TrackingNet and
UAV123 call it by its sequence. Frames count from 0 by the line; coordinates are taken as written. Lines of NaN or of
zeros are frames without the object. A line of VOT that begins with `m` is a mask: left, top, width, height and runs.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict

from pipeline.manifest_builder.label_files import LabelFile
from pipeline.manifest_builder.labelled_video import LabelError, LabelledBox, LabelledVideo, number, sized
from pipeline.manifest_builder.text_rows import Row, rows_of
from pipeline.manifest_builder.tracks import Tracks, around

_TRUTH = re.compile(r"groundtruth(?:_rect)?(?:[._](\d+))?", re.IGNORECASE)
_FORM = "x, y, w, h, or x1, y1, … x4, y4"


def is_vot(file: LabelFile) -> bool:
    """Whether its first lines are boxes alone."""
    rows = rows_of(file, most=50)
    return bool(rows) and all(
        row.text.startswith("m") and "," in row.text
        if row.numbers is None
        else len(row.values) in (4, 8) or (len(row.values) == 1 and _TRUTH.fullmatch(file.stem))
        for row in rows
    )


def read_vot(files: list[LabelFile], notes: list[str]) -> list[LabelledVideo]:
    """Read the ground truth of sequences; files of one folder that differ by a number are objects of one video.

    Raises:
        LabelError: a line is no such line; names it.
    """
    videos: dict[str, list[LabelFile]] = defaultdict(list)
    for file in files:
        truth = _TRUTH.fullmatch(file.stem)
        videos[file.path.rpartition("/")[0] if truth else file.path].append(file)
    out = []
    for group in videos.values():
        tracks = Tracks(group[0].shown)
        for file in group:
            truth = _TRUTH.fullmatch(file.stem)
            track = (truth[1] if truth else None) or "object"
            for frame, row in enumerate(rows_of(file)):
                box = _box(row, frame)
                if box is not None:
                    tracks.add(track, None, box, row.where)
        sequence = (group[0].folder if truth else group[0].stem) or group[0].stem
        out.append(LabelledVideo((sequence,), group[0].shown, tracks.objects(notes)))
    return out


def _box(row: Row, frame: int) -> LabelledBox | None:
    if row.text.startswith("m"):
        values = [number(value, row.where, "mask") for value in (row.values[0][1:], *row.values[1:4])]
    else:
        if len(row.values) == 1:
            return None
        if len(row.values) not in (4, 8):
            raise LabelError(f"{row.where}: expected {_FORM}, got {row.text[:60]!r}")
        values = row.numbers or []
        if any(map(math.isnan, values)):
            return None
        values = [number(value, row.where, "box") for value in row.values]
    if not any(values):
        return None
    if len(values) == 4:
        x, y, w, h = values
        return sized(LabelledBox(frame, x, y, w, h), row.where)
    x, y, w, h = around(list(zip(values[::2], values[1::2], strict=True)))
    return sized(LabelledBox(frame, x, y, w, h, polygon=tuple(values)), row.where)  # type: ignore[arg-type]
