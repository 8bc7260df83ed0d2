"""Where one object's track starts, and how that is written on a command line."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Direction = Literal["forward", "backward", "both"]
"""Where a track runs from its box: to the clip's end, to its start, or both."""
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)

FORM = "[ID=]x,y,w,h[@FRAME], such as 412,230,96,60 or tug=412,230,96,60@25"


class BoxError(ValueError):
    """A box on the command line cannot be read; the message quotes it and says what was expected."""


@dataclass(frozen=True, slots=True)
class StartBox:
    """A box that starts a track; the same id again on a later frame is a key frame, where the track starts anew.

    Attributes:
        object_id: name of the object.
        box: x, y, w, h in pixels of the upright frame, origin at the top-left corner.
        frame: source frame of the box; None is the first one that is tracked.
        end_frame: first source frame that is no longer tracked; None is the last one's next, or the next key frame.
        direction: "forward", "backward" to the first frame or the key frame before, or "both". Where the tracks of two
            key frames meet, each frame takes the one of higher presence.
        frame_size: height and width of the frame that the box comes from, where they are known; `track_video` refuses
            a frame of another size.
    """

    object_id: str
    box: tuple[float, float, float, float]
    frame: int | None = None
    end_frame: int | None = None
    direction: Direction = "forward"
    frame_size: tuple[int, int] | None = None

    @classmethod
    def from_polygon(
        cls,
        object_id: str,
        polygon: Sequence[float] | Sequence[Sequence[float]] | NDArray[Any],
        frame: int | None = None,
        end_frame: int | None = None,
        direction: Direction = "forward",
    ) -> StartBox:
        """Start from a rotated box, x1, y1 … x4, y4 or four points in order: in the box of equal area about its centre.

        Raises:
            ValueError: it is not four corners that enclose an area.
        """
        from model.masks.init_box import box_from_polygon  # compiles kernels, which a box on a command line needs not

        return cls(object_id, box_from_polygon(np.asarray(polygon)), frame, end_frame, direction)

    @classmethod
    def from_mask(
        cls,
        object_id: str,
        mask: NDArray[Any] | Mapping[str, Any],
        frame: int | None = None,
        end_frame: int | None = None,
        direction: Direction = "forward",
    ) -> StartBox:
        """Start from the box around a mask's pixels.

        Args:
            mask: of the whole frame: bool or integers [H, W], where what is not 0 is the object; or a COCO RLE,
                {"size": [H, W], "counts": …}.

        Raises:
            ValueError: it is no mask, or empty.
        """
        from model.masks.init_box import box_from_mask

        box, size = box_from_mask(mask)
        return cls(object_id, box, frame, end_frame, direction, size)


def parse_boxes(texts: Iterable[str]) -> list[StartBox]:
    """Read boxes written as `[ID=]x,y,w,h[@FRAME]`; an object without an id gets its position: 0, 1, …

    Raises:
        BoxError: a box cannot be read, or an id comes twice on one frame.
    """
    boxes = [_parse(text, position) for position, text in enumerate(texts)]
    seen: set[tuple[str, int | None]] = set()
    for box in boxes:
        if (box.object_id, box.frame) in seen:
            where = "the first frame" if box.frame is None else f"frame {box.frame}"
            raise BoxError(f"object {box.object_id!r} has two boxes on {where}: give each object a name of its own")
        seen.add((box.object_id, box.frame))
    return boxes


def _parse(text: str, position: int) -> StartBox:
    object_id, named, rest = text.rpartition("=")
    numbers, at_sign, frame = rest.partition("@")
    if named and not object_id.strip():
        raise BoxError(f"box {text!r}: its name before the = is empty; expected {FORM}")
    if at_sign and not (frame.strip().isascii() and frame.strip().isdigit()):
        raise BoxError(f"box {text!r}: expected a frame number of 0 or more after the @, got {frame!r}")
    parts = numbers.split(",")
    try:
        values = [float(part) for part in parts]
    except ValueError:
        values = []
    if len(values) != 4 or not all(map(math.isfinite, values)):
        raise BoxError(f"box {text!r}: expected {FORM}")
    x, y, w, h = values
    if w <= 0 or h <= 0:
        raise BoxError(f"box {text!r}: expected a width and a height above 0, got {w:g} and {h:g}")
    return StartBox(object_id.strip() or str(position), (x, y, w, h), int(frame) if at_sign else None)
