"""The objects of the demo clips: small pictures with an outline, drawn once and warped in every frame.

A sprite faces right and fills most of its square. Colours are RGB.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.demo.texture import Colour, colourise, fractal_noise

SIDE = 256


@dataclass(frozen=True, slots=True)
class Sprite:
    """An object's picture.

    Attributes:
        rgb: float32 [SIDE, SIDE, 3], 0..255.
        alpha: float32 [SIDE, SIDE], 0..1, the soft outline.
    """

    rgb: np.ndarray
    alpha: np.ndarray


def fish(rng: np.random.Generator) -> Sprite:
    """An orange fish with pale bands."""
    outline = _blank()
    cv2.ellipse(outline, (146, 128), (92, 56), 0, 0, 360, 1, -1, cv2.LINE_AA)
    _polygon(outline, [(72, 128), (12, 74), (34, 128), (12, 182)])
    _polygon(outline, [(116, 82), (150, 40), (196, 92)])
    _polygon(outline, [(130, 170), (132, 216), (178, 168)])
    rgb = colourise(fractal_noise(rng, SIDE, SIDE, cell=64), [(176, 58, 8), (232, 110, 20), (250, 160, 60)])
    bands = _blank()
    for x, half in ((196, 9), (140, 12), (84, 9)):
        cv2.ellipse(bands, (x, 128), (half, 74), 8, 0, 360, 1, -1, cv2.LINE_AA)
    rgb = _paint(rgb, bands, (238, 230, 214))
    rgb = _paint(rgb, _disc((214, 112), 11), (250, 250, 245))
    rgb = _paint(rgb, _disc((217, 112), 6), (12, 12, 16))
    return _finish(rng, rgb, outline)


def ball(rng: np.random.Generator) -> Sprite:
    """A beach ball with six coloured segments."""
    outline = _disc((128, 128), 112)
    rgb = np.zeros((SIDE, SIDE, 3), np.float32)
    colours: list[Colour] = [
        (206, 40, 44),
        (236, 232, 220),
        (36, 84, 190),
        (240, 190, 40),
        (236, 232, 220),
        (30, 140, 84),
    ]
    for i, colour in enumerate(colours):
        segment = _blank()
        cv2.ellipse(segment, (104, 108), (180, 180), 0, 60 * i, 60 * (i + 1), 1, -1, cv2.LINE_AA)
        rgb = _paint(rgb, segment, colour)
    rgb = _paint(rgb, _disc((104, 108), 18), (236, 232, 220))
    return _finish(rng, rgb, outline)


def beetle(rng: np.random.Generator) -> Sprite:
    """A red beetle with black spots."""
    outline = _blank()
    cv2.ellipse(outline, (112, 128), (100, 78), 0, 0, 360, 1, -1, cv2.LINE_AA)
    cv2.ellipse(outline, (212, 128), (32, 42), 0, 0, 360, 1, -1, cv2.LINE_AA)
    rgb = colourise(fractal_noise(rng, SIDE, SIDE, cell=64), [(150, 14, 12), (204, 30, 22), (226, 62, 40)])
    head = _blank()
    cv2.ellipse(head, (214, 128), (44, 60), 0, 0, 360, 1, -1, cv2.LINE_AA)
    rgb = _paint(rgb, head, (24, 22, 26))
    seam = _blank()
    cv2.line(seam, (8, 128), (180, 128), 1, 5, cv2.LINE_AA)
    rgb = _paint(rgb, seam, (24, 12, 12))
    for centre, radius in (((60, 90), 17), ((60, 166), 17), ((122, 80), 20), ((122, 176), 20), ((160, 128), 12)):
        rgb = _paint(rgb, _disc(centre, radius), (22, 14, 16))
    for centre in ((226, 104), (226, 152)):
        rgb = _paint(rgb, _disc(centre, 8), (236, 232, 226))
    return _finish(rng, rgb, outline)


def starfish(rng: np.random.Generator) -> Sprite:
    """A violet starfish with pale knobs."""
    angles = np.linspace(0, 2 * np.pi, 360, endpoint=False)
    radius = 76 + 34 * np.cos(5 * angles) + 6 * np.cos(2 * angles + 1.0) + 8 * np.cos(10 * angles)
    outline = _blank()
    _polygon(outline, np.stack([128 + radius * np.cos(angles), 128 + radius * np.sin(angles)], axis=1))
    rgb = colourise(fractal_noise(rng, SIDE, SIDE, cell=32), [(70, 24, 96), (128, 48, 140), (186, 96, 170)])
    for arm in range(5):
        for step in range(1, 6):
            turn = 2 * np.pi * arm / 5
            centre = (round(128 + 18 * step * np.cos(turn)), round(128 + 18 * step * np.sin(turn)))
            rgb = _paint(rgb, _disc(centre, 7 - step), (244, 222, 206))
    return _finish(rng, rgb, outline)


def board(rng: np.random.Generator) -> Sprite:
    """A wooden board that fills its square."""
    rgb = colourise(fractal_noise(rng, SIDE, SIDE, cell=32), [(74, 52, 34), (122, 90, 58), (160, 126, 88)])
    for y in range(0, SIDE, 43):
        rgb[y : y + 3] *= 0.45
    return Sprite(rgb, np.ones((SIDE, SIDE), np.float32))


def _blank() -> np.ndarray:
    return np.zeros((SIDE, SIDE), np.float32)


def _disc(centre: tuple[int, int], radius: int) -> np.ndarray:
    disc = _blank()
    cv2.circle(disc, centre, radius, 1, -1, cv2.LINE_AA)
    return disc


def _polygon(image: np.ndarray, points: list[tuple[int, int]] | np.ndarray) -> None:
    cv2.fillPoly(image, [np.rint(np.asarray(points)).astype(np.int32)], 1, cv2.LINE_AA)


def _paint(rgb: np.ndarray, coverage: np.ndarray, colour: Colour) -> np.ndarray:
    weight = coverage[..., None]
    return rgb * (1 - weight) + np.asarray(colour, np.float32) * weight


def _finish(rng: np.random.Generator, rgb: np.ndarray, outline: np.ndarray) -> Sprite:
    """Rounds the object: darker towards its edge and its lower side, with a little texture of its own."""
    inside = (outline > 0.5).astype(np.uint8)
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, 5)
    rounding = np.sqrt(np.clip(depth / (0.6 * depth.max()), 0, 1))
    slope = np.linspace(1.1, 0.9, SIDE, dtype=np.float32)[:, None]
    speckle = 0.9 + 0.2 * fractal_noise(rng, SIDE, SIDE, cell=16, octaves=4)
    light = (0.55 + 0.5 * rounding) * slope * speckle
    alpha = cv2.GaussianBlur(outline, (0, 0), 0.8)
    return Sprite(np.clip(rgb * light[..., None], 0, 255).astype(np.float32), alpha)
