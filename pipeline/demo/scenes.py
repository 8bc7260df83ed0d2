"""The demo clips: which object moves how over which ground, and the drawing of one frame."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.demo import sprites
from pipeline.demo.sprites import SIDE, Sprite
from pipeline.demo.texture import Colour, ground

WIDTH, HEIGHT, FPS = 640, 360, 24
MARGIN = 80
"""How far the camera can drift before it runs out of ground, in pixels."""


@dataclass(frozen=True, slots=True)
class Pose:
    """Where an object is in a frame: centre in pixels, size of its square in pixels, angle in degrees (clockwise)."""

    x: float
    y: float
    size: float
    angle: float


@dataclass(frozen=True, slots=True)
class Actor:
    """An object of a scene; `path` gives its pose at time t, from 0 (first frame) to 1 (last).

    What is not tracked hides others and has no mask.
    """

    object_id: str
    draw: Callable[[np.random.Generator], Sprite]
    path: Callable[[float], Pose]
    is_tracked: bool = True


@dataclass(frozen=True, slots=True)
class Scene:
    """A clip: later actors are in front of earlier ones."""

    clip_id: str
    frames: int
    palette: list[Colour]
    cell: int
    camera: Callable[[float], tuple[float, float]]
    actors: tuple[Actor, ...]


@dataclass(frozen=True, slots=True)
class DrawnFrame:
    """A frame and its truth: rgb uint8 [H, W, 3]; for each tracked object what is visible of it, bool [H, W]."""

    rgb: np.ndarray
    masks: dict[str, np.ndarray]


def _wave(t: float, turns: float = 1.0, phase: float = 0.0) -> float:
    return float(np.sin(2 * np.pi * (turns * t + phase)))


SCENES: tuple[Scene, ...] = (
    Scene(
        "pond-fish",
        frames=40,
        palette=[(20, 62, 70), (44, 104, 98), (96, 138, 116), (150, 160, 122)],
        cell=96,
        camera=lambda t: (40 * t, 12 * _wave(t)),
        actors=(
            Actor(
                "fish",
                sprites.fish,
                lambda t: Pose(
                    150 + 330 * t, 190 + 55 * _wave(t, 0.9), 150 + 26 * _wave(t, 0.7), 24 * _wave(t, 0.9, 0.22)
                ),
            ),
        ),
    ),
    Scene(
        "meadow-two",
        frames=48,
        palette=[(36, 62, 22), (70, 104, 34), (112, 140, 52), (170, 172, 92)],
        cell=48,
        camera=lambda t: (-30 * t, 20 * t),
        actors=(
            Actor("beetle", sprites.beetle, lambda t: Pose(170 + 210 * t, 270 - 60 * t, 104, -18 - 20 * _wave(t, 1.2))),
            Actor(
                "ball",
                sprites.ball,
                lambda t: Pose(500 - 300 * t, 110 + 70 * t - 34 * abs(_wave(t, 1.5)), 112 + 30 * t, -230 * t),
            ),
        ),
    ),
    Scene(
        "beach-star",
        frames=36,
        palette=[(132, 104, 70), (184, 152, 108), (214, 190, 148), (236, 222, 190)],
        cell=64,
        camera=lambda t: (24 * _wave(t, 0.6), 36 * t),
        actors=(Actor("star", sprites.starfish, lambda t: Pose(430 - 220 * t, 120 + 120 * t, 110 + 90 * t, 120 * t)),),
    ),
)


def draw(scene: Scene) -> Iterator[DrawnFrame]:
    """Draws the clip's frames in order, the same on every call."""
    rng = np.random.default_rng(zlib.crc32(scene.clip_id.encode()))
    floor = ground(rng, HEIGHT + 2 * MARGIN, WIDTH + 2 * MARGIN, scene.palette, cell=scene.cell)
    cast = [(actor, actor.draw(rng)) for actor in scene.actors]
    for index in range(scene.frames):
        t = index / (scene.frames - 1)
        drift_x, drift_y = scene.camera(t)
        drift = np.array([[1, 0, -MARGIN - drift_x], [0, 1, -MARGIN - drift_y]])
        picture = cv2.warpAffine(floor, drift, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR)
        masks: dict[str, np.ndarray] = {}
        for actor, sprite in cast:
            picture, cover = _place(picture, sprite, actor.path(t))
            masks = {name: mask & ~cover for name, mask in masks.items()}
            if actor.is_tracked:
                masks[actor.object_id] = cover
        noise = rng.standard_normal(picture.shape, dtype=np.float32)
        yield DrawnFrame(np.clip(picture + 2.5 * noise, 0, 255).astype(np.uint8), masks)


def _place(picture: np.ndarray, sprite: Sprite, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
    """The picture with the sprite and its soft shadow on it, and the sprite's pixels as bool [H, W]."""
    matrix = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), -pose.angle, pose.size / SIDE)
    matrix[:, 2] += np.array([pose.x - SIDE / 2, pose.y - SIDE / 2])
    layers = np.dstack([sprite.rgb * sprite.alpha[..., None], sprite.alpha])
    warped = cv2.warpAffine(layers, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR)
    alpha = warped[..., 3:]
    shadow = cv2.GaussianBlur(np.roll(warped[..., 3], (7, 5), axis=(0, 1)), (0, 0), 6)
    picture = picture * (1 - 0.4 * shadow[..., None])
    return picture * (1 - alpha) + warped[..., :3], warped[..., 3] > 0.5
