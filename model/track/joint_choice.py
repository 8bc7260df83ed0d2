"""The objects of a clip are chosen together: no two of them may take one place.

A track is told where the others are, so that it does not take one of them that stands apart from its own place for its
object. Where two of them end at one place all the same, it is given to the one whose way leads there, and the other
steps once more without it. The cost is that of these steps: nothing is compared in pairs but boxes. No torch here.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from model.tracker.rivals import MOST_AVOIDED, Others, Place

Boxes = Mapping[str, NDArray[np.float64]]
"""x, y, w, h by object id."""
ONE_PLACE = 0.5
"""Boxes of a greater IoU are at one place."""
_MEMORY = 0.8  # weight of a velocity's own past
_CONTACT = 1.2  # sizes between two objects' centres below which neither is alone: their boxes say little of their ways
_APART = 0.3  # sizes between two centres below which neither is told to avoid the other
_FURTHEST = 60  # frames for which a way is followed without its object being seen alone
_TAKEN = 0.6  # sides of a box within which another object's centre may not lie


@dataclass(slots=True)
class _Way:
    """Where an object goes.

    box: where it was last seen, x, y, w, h. start: the centre where it was last seen alone; velocity: how it moved a
    frame until then, float64 [2]; frames: how many ago that is. is_lost: whether it was not seen on the last frame.
    """

    box: NDArray[np.float64]
    start: NDArray[np.float64]
    velocity: NDArray[np.float64]
    frames: int = 0
    is_lost: bool = False

    @property
    def expected(self) -> NDArray[np.float64]:
        """Its centre on the next frame, had it gone on as it did when it was last seen alone."""
        return self.start + (self.frames + 1) * self.velocity


@dataclass(slots=True)
class JointChoice:
    """Where the objects of one clip go."""

    _ways: dict[str, _Way] = field(default_factory=dict)

    def others(self) -> dict[str, Others]:
        """The others of each object on the next frame."""
        names, ways = list(self._ways), list(self._ways.values())
        if len(ways) < 2:
            return {}
        boxes, expected, distance = self._table()
        places = [place_of(box) for box in boxes]
        middles = [tuple(row) for row in np.hstack([expected, _TAKEN * boxes[:, 2:]]).tolist()]
        nearest = np.argsort(distance, axis=1)[:, :MOST_AVOIDED].tolist()
        near = (distance < _CONTACT) & np.array([way.frames <= _FURTHEST for way in ways])
        told = near & (distance > _APART)
        return {
            name: Others(
                [places[k] for k in nearest[i] if k != i and not near[i, k] and not ways[k].is_lost],
                [middles[k] for k in nearest[i] if told[i, k]],
                bool(near[i].any()),
            )
            for i, name in enumerate(names)
        }

    def _table(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Boxes [n, 4], expected centres [n, 2] and their distances [n, n] in sizes, infinite to themselves."""
        boxes = np.stack([way.box for way in self._ways.values()])
        expected = np.stack([way.expected for way in self._ways.values()])
        size = np.sqrt(np.maximum(boxes[:, 2:].prod(1), 1.0))
        distance = np.hypot(*(expected[:, None] - expected[None]).transpose(2, 0, 1)) / np.sqrt(size[:, None] * size)
        np.fill_diagonal(distance, np.inf)
        return boxes, expected, distance

    def losers(self, boxes: Boxes, lost: Set[str]) -> dict[str, list[Place]]:
        """The objects that are at the place of another whose it is, with these others' places.

        Args:
            boxes: x, y, w, h, float64 [4], by object id.
            lost: those of the objects that are lost, which take no place.
        """
        names = [name for name in boxes if name not in lost]
        if len(names) < 2:
            return {}
        table = np.stack([boxes[name] for name in names])
        overlap = np.triu(box_iou(table), 1)
        losers: dict[str, list[Place]] = {}
        for first, second in np.argwhere(overlap > ONE_PLACE).tolist():
            pair = sorted((names[first], names[second]), key=lambda name: self._distance(name, boxes[name]))
            winner, loser = pair
            if winner not in losers:
                x, y, width, height = place_of(boxes[winner])
                losers.setdefault(loser, []).append((x, y, _TAKEN * width, _TAKEN * height))
        return losers

    def follow(self, boxes: Boxes, lost: Set[str]) -> None:
        """Take in where the objects of a frame are."""
        for name in self._ways.keys() - boxes.keys():
            del self._ways[name]
        for name, box in boxes.items():
            way = self._ways.setdefault(name, _Way(box, _centre(box), np.zeros(2), frames=-1))
            way.frames += 1
            way.is_lost = name in lost
            if not way.is_lost:
                way.box = box
        if not self._ways:
            return
        nearest = self._table()[2].min(1).tolist()
        for way, distance in zip(self._ways.values(), nearest, strict=True):
            if not way.is_lost and (distance >= _CONTACT or way.frames > _FURTHEST):
                centre = _centre(way.box)
                if way.frames:
                    moved = (centre - way.start) / way.frames
                    way.velocity = _MEMORY * way.velocity + (1 - _MEMORY) * moved if way.velocity.any() else moved
                way.start, way.frames = centre, 0

    def _distance(self, name: str, box: NDArray[np.float64]) -> float:
        """How far a box lies from where its object was going, in sizes of it."""
        way = self._ways.get(name)
        if way is None:
            return 0.0
        return float(np.hypot(*(_centre(box) - way.expected)) / np.sqrt(max(way.box[2] * way.box[3], 1.0)))


def place_of(box: NDArray[np.float64]) -> Place:
    """Centre x, centre y, width and height of a box x, y, w, h."""
    x, y, width, height = box.tolist()
    return x + width / 2, y + height / 2, width, height


def box_iou(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of each two of boxes [n, 4] (x, y, w, h), [n, n]."""
    corner, size = boxes[:, :2], boxes[:, 2:]
    low = np.maximum(corner[:, None], corner[None])
    high = np.minimum((corner + size)[:, None], (corner + size)[None])
    shared = np.clip(high - low, 0, None).prod(2)
    area = size.prod(1)
    return shared / np.maximum(area[:, None] + area[None] - shared, 1e-9)


def _centre(box: NDArray[np.float64]) -> NDArray[np.float64]:
    return box[:2] + box[2:] / 2
