"""Small made-up training pictures: coloured shapes that move over noise."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from model.training.convert.files import box_of_all, label_rows
from model.training.data.tables import TableWriter
from model.training.data.training_store import Picture, write_store


def moving_disk(group: str, colour: tuple[int, int, int], frames: int, seed: int) -> list[Picture]:
    """A video of `frames` pictures, 160x120, in which a disk of one colour moves."""
    rng = np.random.default_rng(seed)
    background = cv2.resize(rng.integers(0, 256, (15, 20, 3)).astype(np.uint8), (160, 120))
    pictures = []
    for frame in range(frames):
        mask = np.zeros((120, 160), np.uint8)
        cv2.ellipse(mask, (50 + 4 * frame, 60), (22, 16), 0, 0, 360, 1, -1)
        pixels = background.copy()
        pixels[mask > 0] = colour
        pictures.append(Picture(pixels, (mask,), ("1",), group, frame, True))
    return pictures


def still(name: str, colour: tuple[int, int, int], seed: int) -> Picture:
    """A still of 140x140 with a rectangle of one colour, and a speck too small to train on."""
    rng = np.random.default_rng(seed)
    pixels = cv2.resize(rng.integers(0, 256, (10, 10, 3)).astype(np.uint8), (140, 140))
    mask = np.zeros((140, 140), np.uint8)
    mask[40:90, 50:100] = 1
    pixels[mask > 0] = colour
    speck = np.zeros_like(mask)
    speck[3:6, 3:6] = 1
    return Picture(pixels, (mask, speck), ("0", "1"), name, 0, False)


def small_store(folder: Path) -> Path:
    """A store with two videos and three stills."""
    pictures = [
        *moving_disk("red", (20, 20, 230), 5, 1),
        *moving_disk("blue", (230, 40, 20), 4, 2),
        still("a.jpg", (10, 200, 10), 3),
        still("b.jpg", (200, 200, 10), 4),
        still("c.jpg", (10, 200, 200), 5),
    ]
    write_store(pictures, folder)
    return folder


def small_set(folder: Path, names: tuple[str, ...] = ("red", "blue"), frames: int = 5) -> Path:
    """A training set in tables: a video of a moving disk a name, as images, and one still."""
    with TableWriter(folder) as tables:
        for seed, name in enumerate(names):
            pictures = moving_disk(name, (20 + 60 * seed, 20, 230 - 60 * seed), frames, seed)
            write_sequence(tables, folder, name, pictures)
        write_sequence(tables, folder, "still", [still("still", (10, 200, 10), 3)])
    return folder


def write_sequence(tables: TableWriter, folder: Path, name: str, pictures: list[Picture], split: str = "train") -> None:
    """Write a sequence's pictures as PNG files beside its tables, and its rows."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    for picture in pictures:
        cv2.imwrite(str(folder / name / f"{picture.frame:05d}.png"), picture.pixels)
        assert picture.masks[0] is not None
        rows = label_rows(picture.masks[0], set())
        tables.masks({"sequence": name, "split": split, "frame_index": picture.frame, **row} for row in rows)
    assert pictures[0].masks[0] is not None
    height, width = pictures[0].pixels.shape[:2]
    tables.sequence(
        sequence=name, split=split, images=[f"{name}/{picture.frame:05d}.png" for picture in pictures],
        frames=len(pictures), width=width, height=height, **box_of_all(pictures[0].masks[0]),
    )  # fmt: skip
