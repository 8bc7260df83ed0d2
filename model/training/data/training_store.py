"""Pictures and object masks of training sets, decoded once into two flat files that are memory-mapped.

The two files hold raw bytes, so that a training crop costs one `warpAffine` and no decoding, and the operating
system decides what stays in memory. Masks are stored as the pixels of their bounding box.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

INDEX, PICTURES, MASKS = "index.npz", "pictures.bin", "masks.bin"
Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture to store: `pixels` uint8 [H, W, 3] BGR, its objects' masks uint8 [H, W] and where it comes from.

    `group` names what the picture belongs to: a video sequence, or the still itself. Objects of pictures of one
    group with the same `objects` entry are the same object. Where a mask is None, the object's entry of `boxes`
    (x, y, w, h in pixels) says where it is.
    """

    pixels: np.ndarray
    masks: tuple[np.ndarray | None, ...]
    objects: tuple[str, ...]
    group: str
    frame: int
    video: bool
    boxes: tuple[tuple[float, float, float, float] | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Limits:
    """Which objects are fit for training: sizes in pixels, shares of the picture or of the box."""

    shortest_side: float = 12.0
    mean_side: float = 24.0
    largest_share: float = 0.80
    least_fill: float = 0.12
    most_elongated: float = 6.0

    def accept(self, box: Box, area: int, picture_area: int) -> bool:
        """Whether an object of `box` (x, y, w, h) and `area` mask pixels in a picture of `picture_area` is kept."""
        _, _, width, height = box
        return (
            min(width, height) >= self.shortest_side
            and (width * height) ** 0.5 >= self.mean_side
            and width * height <= self.largest_share * picture_area
            and area >= self.least_fill * width * height
            and max(width / height, height / width) <= self.most_elongated
        )


@dataclass(frozen=True, slots=True)
class StoredTrack:
    """One object through a video: its instances in frame order. A still's object is a track of length one."""

    group: str
    object_id: str
    instances: np.ndarray
    video: bool


def mask_box(mask: np.ndarray) -> Box | None:
    """Bounding box (x, y, w, h) in pixels of the non-zero part of a mask [H, W], None when it is empty."""
    columns = np.flatnonzero(mask.any(axis=0))
    rows = np.flatnonzero(mask.any(axis=1))
    if columns.size == 0:
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1] - columns[0] + 1), int(rows[-1] - rows[0] + 1)


def write_store(
    pictures: Iterable[Picture], folder: Path, limits: Limits | None = None, *, longest_side: int = 0
) -> tuple[int, int]:
    """Write `pictures` to `folder`; returns the numbers of pictures and of objects kept.

    The index is written last, so an interrupted build leaves no readable store.

    Args:
        limits: which objects are kept.
        longest_side: larger pictures are reduced to this many pixels; 0 keeps them as they are.

    Raises:
        ValueError: no object is kept.
    """
    limits = limits or Limits()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / INDEX).unlink(missing_ok=True)
    rows: list[tuple[int, int, int]] = []
    means: list[np.ndarray] = []
    instances: list[tuple[int, int, int, int, int, int]] = []
    names: list[tuple[str, str, int, bool]] = []
    picture_end = mask_end = seen = 0
    with (folder / PICTURES).open("wb") as picture_file, (folder / MASKS).open("wb") as mask_file:
        for picture in pictures:
            picture = reduced(picture, longest_side) if longest_side else picture
            height, width = picture.pixels.shape[:2]
            kept = 0
            seen += len(picture.objects)
            boxes = picture.boxes or (None,) * len(picture.masks)
            for mask, given, object_id in zip(picture.masks, boxes, picture.objects, strict=True):
                box = _box_inside(given, height, width) if mask is None else mask_box(mask)
                if box is None:
                    continue
                x, y, w, h = box
                if not limits.accept(box, w * h if mask is None else int(np.count_nonzero(mask)), height * width):
                    continue
                names.append((picture.group, object_id, picture.frame, picture.video))
                kept += 1
                if mask is None:
                    instances.append((len(rows), *box, -1))
                    continue
                instances.append((len(rows), *box, mask_end))
                mask_file.write(np.ascontiguousarray(mask[y : y + h, x : x + w] != 0).astype(np.uint8).tobytes())
                mask_end += w * h
            if kept:
                picture_file.write(np.ascontiguousarray(picture.pixels).tobytes())
                rows.append((height, width, picture_end))
                means.append(picture.pixels.reshape(-1, 3).mean(axis=0))
                picture_end += height * width * 3
    if not instances:
        raise ValueError(f"{folder}: none of {seen} objects is fit for training (empty, tiny, huge, thin or holey)")
    np.savez(
        folder / INDEX,
        pictures=np.array(rows, dtype=np.int64).reshape(-1, 3),
        means=np.array(means, dtype=np.float32).reshape(-1, 3),
        instances=np.array(instances, dtype=np.int64).reshape(-1, 6),
        groups=np.array([name[0] for name in names]),
        objects=np.array([name[1] for name in names]),
        frames=np.array([name[2] for name in names], dtype=np.int64),
        videos=np.array([name[3] for name in names], dtype=bool),
    )
    return len(rows), len(instances)


def reduced(picture: Picture, longest_side: int) -> Picture:
    """The same picture no larger than `longest_side` pixels, with its masks and boxes."""
    height, width = picture.pixels.shape[:2]
    factor = longest_side / max(height, width)
    if factor >= 1:
        return picture
    size = max(1, round(width * factor)), max(1, round(height * factor))
    pixels = cv2.resize(picture.pixels, size, interpolation=cv2.INTER_AREA)
    masks = tuple(None if mask is None else _reduced_mask(mask, size) for mask in picture.masks)
    boxes = tuple(None if box is None else tuple(side * factor for side in box) for box in picture.boxes)
    return replace(picture, pixels=pixels, masks=masks, boxes=boxes)


def _reduced_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    covered = cv2.resize((mask != 0).astype(np.uint8) * np.uint8(255), size, interpolation=cv2.INTER_AREA)
    return (covered >= 128).astype(np.uint8)


def _box_inside(box: tuple[float, float, float, float] | None, height: int, width: int) -> Box | None:
    """The whole pixels that a box covers in its picture, None when it covers none."""
    if box is None:
        return None
    x, y, w, h = box
    left, top = max(0, math.floor(x)), max(0, math.floor(y))
    right, bottom = min(width, math.ceil(x + w)), min(height, math.ceil(y + h))
    return (left, top, right - left, bottom - top) if right > left and bottom > top else None


class TrainingStore:
    """Read access to what `write_store` wrote.

    Raises FileNotFoundError, naming the folder, when there is no finished store.
    """

    def __init__(self, folder: Path) -> None:
        if not (folder / INDEX).exists():
            raise FileNotFoundError(f"no training store in {folder}: build it with `python -m model.training prepare`")
        index = np.load(folder / INDEX)
        self._pictures = index["pictures"]
        self._means = index["means"]
        self._instances = index["instances"]
        self._groups, self._objects = index["groups"], index["objects"]
        self._frames, self._videos = index["frames"], index["videos"]
        self._pixels = np.memmap(folder / PICTURES, dtype=np.uint8, mode="r")
        # A set of boxes alone has no masks, and an empty file cannot be mapped.
        empty = (folder / MASKS).stat().st_size == 0
        self._masks = np.zeros(0, np.uint8) if empty else np.memmap(folder / MASKS, dtype=np.uint8, mode="r")

    def __len__(self) -> int:
        return len(self._instances)

    def picture_of(self, instance: int) -> int:
        """The index of the picture that holds an instance."""
        return int(self._instances[instance, 0])

    def picture(self, index: int) -> np.ndarray:
        """Pixels uint8 [H, W, 3] BGR of a picture, a read-only view."""
        height, width, start = (int(value) for value in self._pictures[index])
        return self._pixels[start : start + height * width * 3].reshape(height, width, 3)

    def mean(self, index: int) -> tuple[float, float, float]:
        """Mean BGR colour of a picture: what the tracker pads windows with."""
        blue, green, red = (float(value) for value in self._means[index])
        return blue, green, red

    def box(self, instance: int) -> np.ndarray:
        """Box x, y, w, h in pixels, float64 [4], of an instance."""
        return self._instances[instance, 1:5].astype(np.float64)

    def has_mask(self, instance: int) -> bool:
        """Whether the instance's mask is known, not only its box."""
        return bool(self._instances[instance, 5] >= 0)

    def mask(self, instance: int) -> np.ndarray:
        """Mask uint8 [h, w] of 0 and 1 over the instance's box, a read-only view; all 1 where only the box is known."""
        width, height, start = (int(value) for value in self._instances[instance, 3:6])
        if start < 0:
            return np.ones((height, width), np.uint8)
        return self._masks[start : start + width * height].reshape(height, width)

    def tracks(self) -> Iterator[StoredTrack]:
        """Every object, in the order of the names of groups and objects, its instances in frame order."""
        keys = np.char.add(np.char.add(self._groups, "\n"), self._objects)
        order = np.lexsort((self._frames, keys))
        ends = np.flatnonzero(keys[order][1:] != keys[order][:-1]) + 1
        for part in np.split(order, ends):
            if part.size:
                first = part[0]
                yield StoredTrack(str(self._groups[first]), str(self._objects[first]), part, bool(self._videos[first]))
