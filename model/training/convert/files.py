"""What the converters share: finding files, reading label pictures, rows of the masks table."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from model.training.data.tables import encode_rle
from model.training.data.training_store import mask_box

_IMAGES = {".jpg", ".jpeg", ".png"}
_VOID = 255

Progress = Callable[[int, int], None]
"""Called with how many sequences are done, and of how many."""


class ConvertError(Exception):
    """An original file is missing or not as its data set describes it; the message names it."""


def require(path: Path, kind: str) -> Path:
    """`path`, which must exist; ConvertError says what it should have been."""
    if not path.exists():
        raise ConvertError(f"{path}: there is no such {kind}; give the folder that the data set was unpacked to")
    return path


def read_json(path: Path) -> Any:
    """The content of a JSON file; ConvertError naming it."""
    require(path, "file")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ConvertError(f"{path}: is no JSON ({error})") from error


def image_files(folder: Path) -> list[Path]:
    """The pictures of a folder by name; ConvertError where it does not exist or has none."""
    require(folder, "folder of pictures")
    images = sorted(path for path in folder.iterdir() if path.suffix.lower() in _IMAGES)
    if not images:
        raise ConvertError(f"{folder}: has no .jpg, .jpeg or .png files")
    return images


def image_size(path: Path) -> tuple[int, int]:
    """Width and height of a picture, read from its header; ConvertError naming it."""
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, UnidentifiedImageError) as error:
        raise ConvertError(f"{path}: is no readable picture ({error})") from error


def read_labels(path: Path) -> np.ndarray:
    """A label picture, indexed or grey, as uint8 [H, W]; the void label 255 of an indexed one becomes 0."""
    try:
        with Image.open(path) as image:
            indexed = image.mode == "P"
            if image.mode not in ("P", "L", "1"):
                raise ConvertError(f"{path}: has colours of mode {image.mode}; expected indexed or grey labels")
            labels = np.asarray(image if indexed else image.convert("L"), np.uint8)
    except (OSError, SyntaxError) as error:
        raise ConvertError(f"{path}: is no readable picture ({error})") from error
    return np.where(labels == _VOID, 0, labels).astype(np.uint8) if indexed else labels


def label_rows(labels: np.ndarray, known: set[str], *, merge: bool = False) -> Iterator[dict[str, Any]]:
    """`object_id`, `mask` and `area` of every label of a picture but 0.

    Args:
        labels: uint8 [H, W].
        known: objects of the sequence so far, to which those of this picture are added. One that the picture does not
            show has a row with an empty mask: it is out of sight, and a tracker that sees it errs. A picture of new
            objects alone says nothing of the others: YouTube-VOS's validation split labels each where it begins.
        merge: make one object, "1", of all labels.
    """
    labels = (labels != 0).astype(np.uint8) if merge else labels
    shown = {str(value) for value in np.unique(labels) if value}
    labelled = shown | known if shown & known or not shown else shown
    known |= shown
    for name in sorted(labelled, key=int):
        mask = labels == int(name)
        yield {"object_id": name, "mask": encode_rle(mask), "area": int(np.count_nonzero(mask))}


def box_of_all(labels: np.ndarray) -> dict[str, float | None]:
    """x, y, w, h about everything that is not 0, for the sequences table."""
    box = mask_box(labels)
    return dict(zip("xywh", (None,) * 4 if box is None else map(float, box), strict=True))


def relative(path: Path, folder: Path) -> str:
    """`path` as seen from the folder of the tables."""
    return os.path.relpath(path.resolve(), folder.resolve())
