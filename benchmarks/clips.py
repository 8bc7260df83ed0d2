"""Clips to measure on: textured discs that drift over a moving textured ground, any size, any number of objects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from model.video.writer import VideoWriter
from pipeline.demo.texture import ground

Box = tuple[float, float, float, float]
_PALETTE = [(36, 62, 22), (70, 104, 34), (112, 140, 52), (170, 172, 92)]
_DRIFT = 64


@dataclass(frozen=True, slots=True)
class BenchClip:
    """A video file and the boxes (x, y, w, h) of its objects on the first frame."""

    path: Path
    boxes: tuple[Box, ...]
    frames: int
    width: int
    height: int


def write_clip(
    path: Path, *, width: int, height: int, objects: int, frames: int, seed: int = 0, grain: bool = False
) -> BenchClip:
    """Draw and encode a clip, H.264 at 24 frames/s with a key frame a second.

    Without `grain` as a camera's, nearly all its bytes are those of its key frames.
    """
    rng = np.random.default_rng(seed)
    floor = ground(rng, height + _DRIFT, width + _DRIFT, _PALETTE, cell=64).astype(np.uint8)
    side = height / 6
    columns = int(np.ceil(np.sqrt(objects * width / height)))
    rows = -(-objects // columns)
    places = [((i % columns + 0.5) * width / columns, (i // columns + 0.5) * height / rows) for i in range(objects)]
    with VideoWriter(path, 24, group=24) as writer:
        for frame in _frames(floor, rng, places, side, width, height, frames):
            if grain:
                noise = cv2.resize(rng.normal(0, 4, (height // 2, width // 2, 1)), (width, height))
                frame = np.clip(frame + noise[..., None], 0, 255).astype(np.uint8)
            writer.write(frame)
    boxes = tuple((x - side / 2, y - side / 2, side, side) for x, y in places)
    return BenchClip(path, boxes, frames, width, height)


def manifest_row(clip: BenchClip, clip_id: str) -> str:
    """A line of a JSON Lines manifest for a clip."""
    return json.dumps(
        {"clip_id": clip_id, "video_uri": str(clip.path.resolve()), "objects": [{"box": box} for box in clip.boxes]}
    )


def _frames(
    floor: np.ndarray,
    rng: np.random.Generator,
    places: list[tuple[float, float]],
    side: float,
    width: int,
    height: int,
    frames: int,
) -> Iterator[np.ndarray]:
    colours = rng.integers(60, 255, (len(places), 3)).tolist()
    for index in range(frames):
        shift = int(_DRIFT / 2 + _DRIFT / 2 * np.sin(index / 20))
        picture = floor[shift : shift + height, shift : shift + width].copy()
        for (x, y), colour in zip(places, colours, strict=True):
            centre = round(x + side / 6 * np.sin(index / 12)), round(y + side / 8 * np.cos(index / 9) - side / 8)
            cv2.ellipse(picture, (centre, (side, side * 0.8), index * 2.0), colour, -1, cv2.LINE_AA)
        yield picture
