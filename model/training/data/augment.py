"""Changes of look: colour, blur, grey, and objects pasted over a picture. Pictures are uint8 [H, W, 3] BGR."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True, slots=True)
class Look:
    """Colour of a crop: gains a channel, contrast about mid-grey, gamma; 1 leaves it as it is."""

    gains: tuple[float, float, float] = (1.0, 1.0, 1.0)
    contrast: float = 1.0
    gamma: float = 1.0
    brightness: float = 0.0


def draw_look(rng: np.random.Generator, strength: float) -> Look:
    """A random look; `strength` 0 changes nothing, 1 changes a lot."""
    tint = np.exp(rng.normal(0, 0.08 * strength, 3))
    return Look(
        gains=(float(tint[0]), float(tint[1]), float(tint[2])),
        contrast=float(np.exp(rng.normal(0, 0.22 * strength))),
        gamma=float(np.exp(rng.normal(0, 0.2 * strength))),
        brightness=float(rng.normal(0, 22 * strength)),
    )


def apply_look(picture: np.ndarray, look: Look) -> np.ndarray:
    """Map every channel through the look's curve."""
    level = np.arange(256) / 255.0
    curve = ((level**look.gamma) - 0.5) * look.contrast + 0.5
    table = np.stack([curve * gain for gain in look.gains], axis=-1) * 255 + look.brightness
    return cv2.LUT(picture, np.clip(np.rint(table), 0, 255).astype(np.uint8)[None])


def blur(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blur by motion along a random direction, or out of focus."""
    if rng.random() < 0.4:
        return cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.6, 2.2)))
    length = int(rng.integers(3, 14))
    kernel = np.zeros((length, length), np.float32)
    reach = (length - 1) / 2
    angle = rng.uniform(0, np.pi)
    step = np.array([np.cos(angle), np.sin(angle)]) * reach
    start, end = np.rint(reach - step).astype(int), np.rint(reach + step).astype(int)
    cv2.line(kernel, tuple(int(value) for value in start), tuple(int(value) for value in end), 1.0)
    return cv2.filter2D(picture, -1, kernel / kernel.sum())


def grey(picture: np.ndarray) -> np.ndarray:
    """The same picture without colour."""
    return cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)


def paste(picture: np.ndarray, sprite: np.ndarray, coverage: np.ndarray) -> np.ndarray:
    """Lay `sprite` over `picture` where `coverage` (uint8 [H, W], 0..255) says, with an edge a pixel soft."""
    x, y, width, height = cv2.boundingRect(coverage)
    if width == 0:
        return picture
    rows, columns = slice(y, y + height), slice(x, x + width)
    alpha = cv2.GaussianBlur(coverage, (3, 3), 0)[rows, columns, None].astype(np.float32) * (1 / 255)
    below = picture[rows, columns].astype(np.float32)
    out = picture.copy()
    out[rows, columns] = below + (sprite[rows, columns] - below) * alpha
    return out
