"""Boxes put together to the objects of a video, as the readers of formats with one record a box meet them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from pipeline.manifest_builder.labelled_video import LabelError, LabelledBox, LabelledObject

_NUMBER = re.compile(r"(\d+)\D*$")


@dataclass(slots=True)
class Tracks:
    """The boxes of one video, by object. Boxes without an id are detections: objects of one frame.

    Attributes:
        where: file of the labels, for messages.
    """

    where: str
    _objects: dict[str, LabelledObject] = field(default_factory=dict)
    _frames: set[tuple[str, int]] = field(default_factory=set)
    _loose: list[tuple[str | None, LabelledBox]] = field(default_factory=list)

    def add(self, track: str | None, label: str | None, box: LabelledBox, where: str) -> None:
        """Add a box of an object, or of none in particular. Raises LabelError where the object has one on the frame."""
        if track is None:
            self._loose.append((label, box))
            return
        if (track, box.frame) in self._frames:
            raise LabelError(f"{where}: expected one box an object and frame, got a second one of object {track}")
        self._frames.add((track, box.frame))
        if track not in self._objects:
            name = track if label is None else f"{label}-{track}"
            self._objects[track] = LabelledObject(name, category=label)
        self._objects[track].boxes.append(box)

    def objects(self, notes: list[str]) -> tuple[LabelledObject, ...]:
        """The objects, in the order of their first boxes; detections only where there is nothing else.

        Raises:
            LabelError: there are detections alone, and of several frames: nothing says which are of one object.
        """
        if self._objects:
            if self._loose:
                notes.append(f"{self.where}: {len(self._loose)} boxes without an id passed over")
            for labelled in self._objects.values():
                labelled.boxes.sort(key=lambda box: box.frame)
            return tuple(self._objects.values())
        frames = {box.frame for _, box in self._loose}
        if len(frames) > 1:
            raise LabelError(
                f"{self.where}: expected tracks with ids, got detections (boxes without an id) on {len(frames)} "
                "frames: keep those of the frame on which the objects start, or link them to tracks"
            )
        return tuple(
            LabelledObject(f"{label or 'object'}-{position}", [replace(box, drawn=True)], category=label)
            for position, (label, box) in enumerate(self._loose)
        )


def number_in(name: str) -> int | None:
    """The last number in a name, which in names of pictures is the frame's; None where there is none."""
    match = _NUMBER.search(name)
    return None if match is None else int(match[1])


def around(points: list[tuple[float, float]]) -> tuple[float, float, float, float]:
    """x, y, w, h of the box around points."""
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)
