"""What every label format comes down to: videos, the objects in them, and their boxes by frame."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from pipeline.errors import UsageError

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
        polygon: the corners of a rotated box, where the labels have these; x, y, w, h are then those of the box around.
    """

    frame: int
    x: float
    y: float
    w: float
    h: float
    angle: float = 0.0
    pivot: Literal["centre", "corner"] = "centre"
    drawn: bool = True
    polygon: Corners | None = None

    @property
    def upright(self) -> bool:
        """Whether it is an axis-aligned box."""
        return self.polygon is None and self.angle % 360 == 0

    def corners(self, scale_x: float = 1.0, scale_y: float = 1.0) -> Corners:
        """The corners in pixels, clockwise from the one that is top-left before turning."""
        if self.polygon is not None:
            return self.polygon
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
    """One object of a video.

    Attributes:
        boxes: in the order of their frames, one a frame.
        ends: frames from which on the labels say that it is not to be seen, until its next box; ascending.
        category: the label that people gave it; None where the format has none.
        given_id: the id in an attribute `object_id`, as exports of this service have it; None where there is none.
    """

    object_id: str
    boxes: list[LabelledBox] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    category: str | None = None
    given_id: str | None = None

    def spans(self) -> list[tuple[list[LabelledBox], int | None]]:
        """The boxes between two ends, and the end that follows them, None where none does."""
        spans: list[tuple[list[LabelledBox], int | None]] = []
        for box in self.boxes:
            end = next((end for end in self.ends if end > box.frame), None)
            if not spans or spans[-1][1] != end:
                spans.append(([], end))
            spans[-1][0].append(box)
        return spans


@dataclass(frozen=True, slots=True)
class LabelledVideo:
    """The labels of one video.

    Attributes:
        names: what the labels call the video, the most telling first: a path, a file name or a stem.
        where: file of the labels and the place in it, for messages.
        objects: those with at least one box.
        unit: of the boxes: pixels, or percent of the frame's width and height.
        frames: how many frames the labels think the video has; None where they do not say.
        pictures: frame -> stem of its picture's name, where the labels are of pictures: in a folder of pictures the
            frame is the one of this name, in a video the one of this number.
        clock: what boxes and ends count by: frames, or milliseconds from the first.
    """

    names: tuple[str, ...]
    where: str
    objects: tuple[LabelledObject, ...]
    unit: Literal["pixels", "percent"] = "pixels"
    frames: int | None = None
    pictures: dict[int, str] = field(default_factory=dict)
    clock: Literal["frames", "milliseconds"] = "frames"


def number(value: object, where: str, name: str) -> float:
    """A finite number, also where it is written as text. Raises LabelError."""
    try:
        result = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        result = math.nan
    if isinstance(value, bool) or not math.isfinite(result):
        raise LabelError(f"{where}: {name}: expected a number, got {value!r}")
    return result


def whole(value: object, where: str, name: str, least: int = 0) -> int:
    """A whole number of at least `least`, also where it is written as text. Raises LabelError."""
    result = number(value, where, name)
    if not result.is_integer() or result < least:
        raise LabelError(f"{where}: {name}: expected a whole number of {least} or more, got {value!r}")
    return int(result)


def sized(box: LabelledBox, where: str) -> LabelledBox:
    """The box itself. Raises LabelError where it has no area."""
    if box.w <= 0 or box.h <= 0:
        raise LabelError(f"{where}: expected a box with a width and a height above 0, got {box.w:g} x {box.h:g}")
    return box
