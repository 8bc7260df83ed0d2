"""What tracking one video gives, frame by frame and gathered by object."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.masks import rle
from model.video.overlay import OverlayStyle, TrackedObject, colour_of, draw_objects


@dataclass(frozen=True, slots=True)
class ObjectResult:
    """One object on one frame: what a row of the service's `masks` table holds.

    Attributes:
        score: the tracker's, 0 to 1; 1 on the init frame.
        presence: probability that the mask covers the object (IoU of 0.5 or more), 0 to 1; 1 on the init frame.
        state: "tracked" or "lost".
        bbox: the tracker's axis-aligned box x, y, w, h, float64 [4].
        rle: COCO RLE of the full frame, {"size": [H, W], "counts": text}.
        area: pixels of the mask.
        rbox: rotated box cx, cy, w, h, angle, float32 [5]: w >= h, degrees in [-90, 90), clockwise (y points down).
        corners: the same as x1, y1 … x4, y4, float32 [8], clockwise from the topmost corner.
        rbox_from_mask: false where the mask has no usable contour, so that the rotated box is `bbox`.
    """

    score: float
    presence: float
    state: str
    bbox: NDArray[np.float64]
    rle: dict[str, Any]
    area: int
    rbox: NDArray[np.float32]
    corners: NDArray[np.float32]
    rbox_from_mask: bool

    @property
    def mask(self) -> NDArray[np.bool_]:
        """The mask as bool [H, W]."""
        return rle.decode(self.rle).astype(bool)


@dataclass(frozen=True, slots=True)
class FrameResult:
    """The objects of one frame.

    Attributes:
        frame_index: number of the frame in the video, from 0.
        pts_s: its time in seconds after the video's first frame.
        objects: by object id; an object is there on the frames on which it is tracked.
        image: uint8 [H, W, 3] RGB, where `track_video` was asked for images.
    """

    frame_index: int
    pts_s: float
    objects: dict[str, ObjectResult]
    image: NDArray[np.uint8] | None = field(default=None, repr=False)
    _ids: tuple[str, ...] = field(default=(), repr=False)

    def overlay(self, style: OverlayStyle | None = None) -> NDArray[np.uint8]:
        """The image with masks, rotated boxes, ids and scores drawn on it, uint8 [H, W, 3] RGB.

        Raises:
            ValueError: this result has no image.
        """
        if self.image is None:
            raise ValueError("this result has no image: call track_video with images=True")
        colours = {object_id: colour_of(i) for i, object_id in enumerate(self._ids)}
        drawn = [
            TrackedObject(key, item.score, item.rle, item.corners.tolist(), item.state)
            for key, item in self.objects.items()
        ]
        return draw_objects(self.image, drawn, colours, style)


@dataclass(frozen=True, slots=True)
class ObjectTrack:
    """One object through the video: arrays with a row a frame, as `collect` gathers them.

    Attributes:
        frame_index: int64 [n].
        pts_s, score, presence: float64 [n].
        state: n times "tracked" or "lost".
        bbox, rbox, corners: float32 [n, 4], [n, 5], [n, 8].
        area: int64 [n].
        rles: n COCO RLE masks.
    """

    frame_index: NDArray[np.int64]
    pts_s: NDArray[np.float64]
    score: NDArray[np.float64]
    presence: NDArray[np.float64]
    state: list[str]
    bbox: NDArray[np.float32]
    rbox: NDArray[np.float32]
    corners: NDArray[np.float32]
    area: NDArray[np.int64]
    rles: list[dict[str, Any]] = field(repr=False)

    def mask(self, row: int) -> NDArray[np.bool_]:
        """The mask of a row as bool [H, W]."""
        return rle.decode(self.rles[row]).astype(bool)


def collect(results: Iterable[FrameResult]) -> dict[str, ObjectTrack]:
    """Gather the results of `track_video` by object, without images; some 500 bytes an object and frame."""
    rows: dict[str, list[tuple[FrameResult, ObjectResult]]] = {}
    for frame in results:
        bare = FrameResult(frame.frame_index, frame.pts_s, {})
        for object_id, item in frame.objects.items():
            rows.setdefault(object_id, []).append((bare, item))
    return {
        object_id: ObjectTrack(
            np.array([frame.frame_index for frame, _ in track], np.int64),
            np.array([frame.pts_s for frame, _ in track]),
            np.array([item.score for _, item in track]),
            np.array([item.presence for _, item in track]),
            [item.state for _, item in track],
            np.array([item.bbox for _, item in track], np.float32),
            np.array([item.rbox for _, item in track], np.float32),
            np.array([item.corners for _, item in track], np.float32),
            np.array([item.area for _, item in track], np.int64),
            [item.rle for _, item in track],
        )
        for object_id, track in rows.items()
    }
