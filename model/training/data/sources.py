"""Pictures with their objects out of training sets: tables of sequences, and tables of stills."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq

from model.training.data.tables import Annotation, Annotations, decode_rle, read_sequences
from model.training.data.training_store import Picture
from model.video import VideoError, open_video

_STILL_TABLES = ("masks.parquet", "instances.parquet")

Progress = Callable[[str, int, int], None]
"""Called with the set's name, the sequences done and their number."""


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """A set found on disk: `table` of stills, or None for a folder with `sequences` and `masks`."""

    name: str
    folder: Path
    table: Path | None = None


def find_sets(data: Iterable[Path]) -> list[TrainingSet]:
    """The training sets in and below folders, sequences before stills, by path.

    A folder with `sequences` (see `model.training.data.tables`) is a set; so is one with `masks.parquet` or
    `instances.parquet` alone, a table of stills.

    Raises:
        FileNotFoundError: a folder holds no set.
        ValueError: two sets have the same name, which would mix their sequences up.
    """
    sets: list[TrainingSet] = []
    for top in data:
        below = list(_sets_below(top))
        if not below:
            raise FileNotFoundError(f"{top}: no sequences.parquet, masks.parquet or instances.parquet in or below it")
        sets += below
    sets.sort(key=lambda data_set: (data_set.table is not None, str(data_set.folder)))
    names = [data_set.name for data_set in sets]
    if twice := [data_set for data_set in sets if names.count(data_set.name) > 1]:
        where = " and ".join(str(data_set.folder) for data_set in twice)
        raise ValueError(f"more than one training set is called {twice[0].name}: {where}; rename one")
    return sets


def _sets_below(top: Path) -> Iterator[TrainingSet]:
    for root, folders, files in os.walk(top, followlinks=True):
        folders.sort()
        folder = Path(root)
        if "sequences.parquet" in files or "sequences" in folders:
            yield TrainingSet(folder.resolve().name, folder)
            folders.clear()
            continue
        for name in _STILL_TABLES:
            if name in files:
                yield TrainingSet(folder.resolve().name, folder, folder / name)
                folders.clear()


def read_frames(path: Path) -> Iterator[tuple[int, np.ndarray]]:
    """Frames of a video file with their indexes, in order: uint8 [H, W, 3] BGR, upright, as the service reads them.

    Raises ValueError naming the file when it cannot be decoded.
    """
    try:
        for frame in open_video(path).read():
            yield frame.index, np.ascontiguousarray(frame.image[..., ::-1])
    except VideoError as error:
        raise ValueError(f"{path}: not a readable video ({error})") from error


def read_image(path: Path) -> np.ndarray:
    """Pixels uint8 [H, W, 3] BGR of an image file; ValueError naming it when it cannot be read."""
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if pixels is None:
        raise ValueError(f"{path}: not a readable image")
    return pixels


def sequence_frames(folder: Path, row: dict[str, Any], wanted: Collection[int]) -> Iterator[tuple[int, np.ndarray]]:
    """The `wanted` frames of a sequence with their indices, in order.

    Raises ValueError, naming the sequence, when it ends before one of them.
    """
    left = sorted(wanted)
    if row.get("images"):
        for index in left:
            if not 0 <= index < len(row["images"]):
                count = len(row["images"])
                raise ValueError(f"{folder}: sequence {row['sequence']} has {count} images and labels of frame {index}")
            yield index, read_image(folder / row["images"][index])
        return
    remaining = set(left)
    for index, pixels in read_frames(folder / row["video"]):
        if index in remaining:
            remaining.discard(index)
            yield index, pixels
        if not remaining:
            return
    if remaining:
        raise ValueError(f"{folder / row['video']}: sequence {row['sequence']} ends before frame {min(remaining)}")


def sequence_masks(folder: Path, split: str) -> dict[str, dict[int, dict[str, np.ndarray]]]:
    """Masks uint8 [h, w] by sequence, frame index and object of one split of `folder`; boxes are left out."""
    rows, annotations = read_sequences(folder, split), Annotations(folder, split)
    masks_of: dict[str, dict[int, dict[str, np.ndarray]]] = {}
    for row in rows:
        frames: dict[int, dict[str, np.ndarray]] = defaultdict(dict)
        for index, objects in annotations.of(row["sequence"]).items():
            for name, annotation in objects.items():
                mask = annotation.mask()
                if mask is not None:
                    frames[index][name] = mask
        masks_of[row["sequence"]] = dict(frames)
    return masks_of


def sequence_rows(folder: Path, split: str) -> list[dict[str, Any]]:
    """Rows of `folder`/sequences.parquet of one split, by name."""
    return read_sequences(folder, split)


def sequence_pictures(
    folder: Path,
    *,
    split: str | None = "train",
    stride: int = 1,
    names: Collection[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Picture]:
    """The annotated frames of a split, every `stride`-th frame of a video; an empty mask is no annotation.

    Raises ValueError naming the sequence and frame when a mask is not of its frame's size.
    """
    rows, annotations = read_sequences(folder, split, names), Annotations(folder, split, names)
    for number, row in enumerate(rows):
        by_frame = annotations.of(row["sequence"])
        video = bool(row.get("video")) or len(row["images"]) > 1
        wanted = [index for index in by_frame if not video or index % stride == 0]
        for index, pixels in sequence_frames(folder, row, wanted):
            yield _picture(folder, row["sequence"], index, pixels, by_frame[index], video)
        if progress is not None:
            progress(number + 1, len(rows))


def _picture(
    folder: Path, sequence: str, index: int, pixels: np.ndarray, objects: dict[str, Annotation], video: bool
) -> Picture:
    try:
        masks = tuple(annotation.mask() for annotation in objects.values())
    except ValueError as error:
        raise ValueError(f"{folder}: sequence {sequence}, frame {index}: {error}") from error
    for mask in masks:
        if mask is not None and mask.shape != pixels.shape[:2]:
            raise ValueError(
                f"{folder}: sequence {sequence}, frame {index} is {list(pixels.shape[:2])} (height, width), "
                f"its mask {list(mask.shape)}"
            )
    boxes = tuple(annotation.box for annotation in objects.values())
    return Picture(pixels, masks, tuple(objects), sequence, index, video, boxes)


def still_pictures(table_path: Path, *, progress: Callable[[int, int], None] | None = None) -> Iterator[Picture]:
    """The pictures of a table of instances (columns image, instance, mask); image paths are relative to the table.

    Raises ValueError naming the image when it cannot be read or is not of its masks' size.
    """
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in pq.read_table(table_path, columns=["image", "instance", "mask"]).to_pylist():
        rows[row["image"]].append(row)
    for number, (image, entries) in enumerate(rows.items()):
        pixels = read_image(table_path.parent / image)
        try:
            masks = tuple(decode_rle(row["mask"]) for row in entries)
        except ValueError as error:
            raise ValueError(f"{table_path}: {image}: {error}") from error
        if any(mask.shape != pixels.shape[:2] for mask in masks):
            raise ValueError(f"{table_path.parent / image}: {pixels.shape[:2]} pixels, masks of another size")
        objects = tuple(str(row["instance"]) for row in entries)
        yield Picture(pixels, masks, objects, f"{table_path.parent.name}/{image}", 0, False)
        if progress is not None:
            progress(number + 1, len(rows))


def all_pictures(
    sets: Sequence[TrainingSet], *, split: str = "train", stride: int = 1, progress: Progress | None = None
) -> Iterator[Picture]:
    """The pictures of `split` of the sets with sequences, and all of the tables of stills.

    A sequence's group is its name; of two sets with the same name in them, the later has `set/name`.

    Raises:
        ValueError: there are sets with sequences, and none has one of this split.
    """
    folders = [data_set.folder for data_set in sets if data_set.table is None]
    if folders and not any(sequence_rows(folder, split) for folder in folders):
        raise ValueError(f"no {split} sequence in {', '.join(map(str, folders))}")
    taken: dict[str, str] = {}
    for data_set in sets:

        def done(count: int, total: int, name: str = data_set.name) -> None:
            if progress is not None:
                progress(name, count, total)

        if data_set.table is not None:
            yield from still_pictures(data_set.table, progress=done)
        else:
            for picture in sequence_pictures(data_set.folder, split=split, stride=stride, progress=done):
                first = taken.setdefault(picture.group, data_set.name)
                yield picture if first == data_set.name else replace(picture, group=f"{data_set.name}/{picture.group}")
