"""Masks as pictures, as DAVIS, YouTube-VOS and MOSE have them: `<sequence>/00012.png`, an object a value.

Format: https://davischallenge.org/davis2017/code.html: a PNG with a palette, 0 the background, 255 not to be judged.
A box is the one around an object's pixels. The frame is the number in the picture's name, from 0; in a folder of
pictures it is the picture of the same name, which is right also where every fifth frame alone has one (YouTube-VOS).
"""

from __future__ import annotations

import io
from collections import defaultdict

import numpy as np
from PIL import Image, UnidentifiedImageError

from pipeline.manifest_builder.label_files import LabelFile
from pipeline.manifest_builder.labelled_video import LabelError, LabelledBox, LabelledVideo
from pipeline.manifest_builder.tracks import Tracks, number_in

_VOID = 255
_PALETTE_CHUNK = b"PLTE"
_GREY_HEADER = b"\x08\x00"
"""Bit depth 8 and colour type 0 in a PNG's header."""


def is_mask(file: LabelFile) -> bool:
    """Whether it is a PNG with a palette, or a grey one in a folder of annotations."""
    head = file.content[:1024]
    if not head.startswith(b"\x89PNG"):
        return False
    return _PALETTE_CHUNK in head or (head[24:26] == _GREY_HEADER and "annotation" in file.path.lower())


def read_masks(files: list[LabelFile], notes: list[str]) -> list[LabelledVideo]:
    """Read the masks of all frames, those of one folder as one video.

    Raises:
        LabelError: a picture cannot be read, or has no number in its name.
    """
    videos: dict[str, list[LabelFile]] = defaultdict(list)
    for file in files:
        videos[file.path.rpartition("/")[0]].append(file)
    out = []
    for path, members in videos.items():
        tracks = Tracks(path)
        pictures = {}
        for file in members:
            frame = number_in(file.stem)
            if frame is None:
                raise LabelError(f"{file.shown}: expected the frame's number in the name, as 00012.png")
            pictures[frame] = file.stem
            mask = _mask(file)
            for value in np.unique(mask):
                if value not in (0, _VOID):
                    box = _box(mask == value, frame)
                    tracks.add(str(value), None, box, file.shown)
            file.forget()
        sequence = members[0].folder or members[0].stem
        objects = tracks.objects(notes)
        out.append(LabelledVideo((sequence,), members[0].shown, objects, "percent", pictures=pictures))
    return out


def _mask(file: LabelFile) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(file.content)) as picture:
            return np.asarray(picture)
    except (OSError, UnidentifiedImageError, ValueError) as error:
        raise LabelError(f"{file.shown}: expected a PNG picture: {error}") from None


def _box(mask: np.ndarray, frame: int) -> LabelledBox:
    """The box around the pixels set, in percent of the picture, which may be smaller than the video."""
    height, width = mask.shape
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    x, y = float(columns[0]), float(rows[0])
    w, h = float(columns[-1] + 1) - x, float(rows[-1] + 1) - y
    return LabelledBox(frame, 100 * x / width, 100 * y / height, 100 * w / width, 100 * h / height)
