"""Grounds for the demo clips: fractal noise coloured by a palette."""

from __future__ import annotations

import cv2
import numpy as np

Colour = tuple[int, int, int]

_DECAY = 0.55
"""Amplitude of an octave of noise over the one before."""
_GRAIN = 9.0
"""Standard deviation of the noise of single pixels."""


def fractal_noise(
    rng: np.random.Generator, height: int, width: int, *, cell: int = 128, octaves: int = 6
) -> np.ndarray:
    """Smooth noise over several scales.

    Args:
        rng: source of randomness.
        height, width: in pixels.
        cell: size of the largest features in pixels; each octave halves it.
        octaves: number of scales.

    Returns:
        float32 [height, width] from 0 to 1.
    """
    total = np.zeros((height, width), np.float32)
    amplitude = 1.0
    for octave in range(octaves):
        size = max(1, cell >> octave)
        grid = rng.random((height // size + 3, width // size + 3), dtype=np.float32)
        grown = cv2.resize(grid, None, fx=size, fy=size, interpolation=cv2.INTER_CUBIC)
        total += amplitude * grown[size // 2 :, size // 2 :][:height, :width]
        amplitude *= _DECAY
    low, high = np.percentile(total, (0.5, 99.5))
    return np.clip((total - low) / (high - low), 0, 1).astype(np.float32)


def colourise(values: np.ndarray, palette: list[Colour]) -> np.ndarray:
    """Map 0..1 through a palette by linear interpolation.

    Args:
        values: float [H, W], 0 to 1.
        palette: RGB 0..255, two colours or more, from 0 to 1 at even steps.

    Returns:
        float32 [H, W, 3], RGB 0..255.
    """
    stops = np.linspace(0, 1, len(palette))
    channels = [np.interp(values, stops, [colour[i] for colour in palette]) for i in range(3)]
    return np.stack(channels, axis=-1).astype(np.float32)


def ground(
    rng: np.random.Generator, height: int, width: int, palette: list[Colour], *, cell: int
) -> np.ndarray:
    """A textured ground with uneven light: float32 [H, W, 3], RGB 0..255."""
    image = colourise(fractal_noise(rng, height, width, cell=cell), palette)
    light = 0.78 + 0.4 * fractal_noise(rng, height, width, cell=512, octaves=2)
    fine = rng.normal(0, _GRAIN, (height, width, 1)).astype(np.float32)
    return np.clip(image * light[..., None] + fine, 0, 255)
