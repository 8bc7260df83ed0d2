"""Pictures and object masks of the training sets, decoded once into two flat files that are memory-mapped.

The two files hold raw bytes, so that a training crop costs one `warpAffine` and no decoding, and the operating
system decides what stays in memory. Masks are stored as the pixels of their bounding box.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

INDEX, PICTURES, MASKS = "index.npz", "pictures.bin", "masks.bin"


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture to store: `pixels` uint8 [H, W, 3] BGR, its objects' masks uint8 [H, W] and where it comes from.

    `group` names what the picture belongs to: a video sequence, or the still itself. Objects of pictures of one
    group with the same `objects` entry are the same object.
    """

    pixels: np.ndarray
    masks: tuple[np.ndarray, ...]
    objects: tuple[str, ...]
    group: str
    frame: int
    video: bool


@dataclass(frozen=True, slots=True)
class Limits:
    """Which objects are fit for training: sizes in pixels, shares of the picture or of the box."""

    shortest_side: float = 12.0
    mean_side: float = 24.0
    largest_share: float = 0.80
    least_fill: float = 0.12
    most_elongated: float = 6.0

    def accept(self, box: tuple[int, int, int, int], area: int, picture_area: int) -> bool:
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
class Track:
    """One object through a video: its instances in frame order. A still's object is a track of length one."""

    group: str
    object_id: str
    instances: np.ndarray
    video: bool


def mask_box(mask: np.ndarray) -> tuple[int, int, int, int] | None:
    """Bounding box (x, y, w, h) in pixels of the non-zero part of a mask [H, W], None when it is empty."""
    columns = np.flatnonzero(mask.any(axis=0))
    rows = np.flatnonzero(mask.any(axis=1))
    if columns.size == 0:
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1] - columns[0] + 1), int(rows[-1] - rows[0] + 1)


def write_store(pictures: Iterable[Picture], folder: Path, limits: Limits | None = None) -> tuple[int, int]:
    """Write `pictures` to `folder`; returns the numbers of pictures and of objects kept.

    The index is written last, so an interrupted build leaves no readable store.
    """
    limits = limits or Limits()
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[tuple[int, int, int]] = []
    means: list[np.ndarray] = []
    instances: list[tuple[int, int, int, int, int, int]] = []
    names: list[tuple[str, str, int, bool]] = []
    picture_end = mask_end = 0
    with (folder / PICTURES).open("wb") as picture_file, (folder / MASKS).open("wb") as mask_file:
        for picture in pictures:
            height, width = picture.pixels.shape[:2]
            kept = 0
            for mask, object_id in zip(picture.masks, picture.objects, strict=True):
                box = mask_box(mask)
                if box is None or not limits.accept(box, int(np.count_nonzero(mask)), height * width):
                    continue
                x, y, w, h = box
                mask_file.write(np.ascontiguousarray(mask[y : y + h, x : x + w] != 0).astype(np.uint8).tobytes())
                instances.append((len(rows), x, y, w, h, mask_end))
                names.append((picture.group, object_id, picture.frame, picture.video))
                mask_end += w * h
                kept += 1
            if kept:
                picture_file.write(np.ascontiguousarray(picture.pixels).tobytes())
                rows.append((height, width, picture_end))
                means.append(picture.pixels.reshape(-1, 3).mean(axis=0))
                picture_end += height * width * 3
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


class Store:
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
        self._masks = np.memmap(folder / MASKS, dtype=np.uint8, mode="r")

    def __len__(self) -> int:
        return len(self._instances)

    @property
    def picture_count(self) -> int:
        """How many pictures there are."""
        return len(self._pictures)

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

    def mask(self, instance: int) -> np.ndarray:
        """Mask uint8 [h, w] of 0 and 1 over the instance's box, a read-only view."""
        width, height, start = (int(value) for value in self._instances[instance, 3:6])
        return self._masks[start : start + width * height].reshape(height, width)

    def tracks(self) -> Iterator[Track]:
        """Every object, in the order of the names of groups and objects, its instances in frame order."""
        keys = np.char.add(np.char.add(self._groups, "\n"), self._objects)
        order = np.lexsort((self._frames, keys))
        ends = np.flatnonzero(keys[order][1:] != keys[order][:-1]) + 1
        for part in np.split(order, ends):
            if part.size:
                first = part[0]
                yield Track(str(self._groups[first]), str(self._objects[first]), part, bool(self._videos[first]))
