"""Small made-up training pictures: coloured shapes that move over noise."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from model.training.store import Picture, write_store


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
