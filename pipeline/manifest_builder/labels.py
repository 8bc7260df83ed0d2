"""What every label format comes down to: videos, the objects in them, and their boxes by frame."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from pipeline.options import UsageError

Corners = tuple[float, float, float, float, float, float, float, float]


class LabelError(UsageError):
    """A file of labels cannot be used; the message names the file, the place in it, and what was expected."""


@dataclass(frozen=True, slots=True)
class LabelledBox:
    """A box on one frame, in the units of its video (`LabelledVideo.unit`).

    Attributes:
        frame: frame of the video, from 0.
        x, y, w, h: the box before it is turned.
        angle: degrees by which it is turned, clockwise, about `pivot`.
        pivot: "centre" or "corner" (the top-left one).
        drawn: whether a person drew it; false for one that the tool put between two drawn ones.
    """

    frame: int
    x: float
    y: float
    w: float
    h: float
    angle: float = 0.0
    pivot: Literal["centre", "corner"] = "centre"
    drawn: bool = True

    def corners(self, scale_x: float = 1.0, scale_y: float = 1.0) -> Corners:
        """The corners in pixels, clockwise from the one that is top-left before turning."""
        x, y, w, h = self.x * scale_x, self.y * scale_y, self.w * scale_x, self.h * scale_y
        px, py = (x + w / 2, y + h / 2) if self.pivot == "centre" else (x, y)
        cos, sin = math.cos(math.radians(self.angle)), math.sin(math.radians(self.angle))
        out: list[float] = []
        for cx, cy in ((x, y), (x + w, y), (x + w, y + h), (x, y + h)):
            dx, dy = cx - px, cy - py
            out += [px + dx * cos - dy * sin, py + dx * sin + dy * cos]
        return tuple(out)  # type: ignore[return-value]


@dataclass(slots=True)
class LabelledObject:
    """One object of a video; `boxes` in the order of their frames, one a frame."""

    object_id: str
    boxes: list[LabelledBox] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class LabelledVideo:
    """The labels of one video.

    Attributes:
        names: what the labels call the video, the most telling first: a path, a file name or a stem.
        where: file of the labels and the place in it, for messages.
        objects: those with at least one box.
        unit: of the boxes: pixels, or percent of the frame's width and height.
        frames: how many frames the labels think the video has; None where they do not say.
    """

    names: tuple[str, ...]
    where: str
    objects: tuple[LabelledObject, ...]
    unit: Literal["pixels", "percent"] = "pixels"
    frames: int | None = None


def number(value: object, where: str, name: str) -> float:
    """A finite number, also where it is written as text. Raises LabelError."""
    try:
        found = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        found = math.nan
    if isinstance(value, bool) or not math.isfinite(found):
        raise LabelError(f"{where}: {name}: expected a number, got {value!r}")
    return found


def whole(value: object, where: str, name: str, least: int = 0) -> int:
    """A whole number of at least `least`, also where it is written as text. Raises LabelError."""
    found = number(value, where, name)
    if not found.is_integer() or found < least:
        raise LabelError(f"{where}: {name}: expected a whole number of {least} or more, got {value!r}")
    return int(found)


def sized(box: LabelledBox, where: str) -> LabelledBox:
    """The box itself. Raises LabelError where it has no area."""
    if box.w <= 0 or box.h <= 0:
        raise LabelError(f"{where}: expected a box with a width and a height above 0, got {box.w:g} x {box.h:g}")
    return box
