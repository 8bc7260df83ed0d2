"""The objects that `track_video` is given, checked against the frame: by boxes, polygons or masks."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.track.start_box import DIRECTIONS, StartBox
from model.tracker import TrackState

Region = Sequence[float] | Sequence[Sequence[float]] | NDArray[Any] | Mapping[str, Any]
"""Where an object is: a box x, y, w, h; a polygon x1, y1 … x4, y4 or four points; a mask, bool [H, W] or COCO RLE."""


def start_of(object_id: str, region: Region, frame: int | None = None) -> StartBox:
    """A start from a box, a polygon or a mask, told apart by their shapes.

    Raises:
        ValueError: it is none of them.
    """
    if isinstance(region, Mapping):
        return StartBox.from_mask(object_id, region, frame)
    try:
        values = np.asarray(region)
    except ValueError:  # a list of lists of different lengths
        values = np.empty(0, object)
    if values.shape == (4,):
        return StartBox(object_id, tuple(region), frame)
    if values.shape in ((8,), (4, 2)):
        return StartBox.from_polygon(object_id, values, frame)
    if values.ndim == 2 and values.dtype.kind in "bui":
        return StartBox.from_mask(object_id, values, frame)
    raise ValueError(
        "expected a box x, y, w, h, a polygon of four corners, or a mask (bool [H, W] or COCO RLE), "
        f"got {_shown(region, values)}"
    )


def start_boxes(
    boxes: Mapping[str, Region] | Iterable[StartBox], init_frames: Mapping[str, int], height: int, width: int
) -> list[StartBox]:
    """Check what `track_video` is given, for frames of a size in pixels.

    Raises:
        ValueError: names the object, or the position in the list, what was expected and what is there.
    """
    if isinstance(boxes, Mapping):
        unknown = sorted(set(init_frames) - set(boxes))
        if unknown:
            raise ValueError(f"init_frames names {', '.join(unknown)}, which boxes do not")
        starts = []
        for key, region in boxes.items():
            try:
                starts.append(start_of(str(key), region, init_frames.get(key)))
            except ValueError as error:
                raise ValueError(f"object {str(key)!r}: {error}") from None
    else:
        starts = _listed(boxes)
        if init_frames:
            raise ValueError("init_frames goes with boxes by object id: give each StartBox its own frame")
    if not starts:
        raise ValueError("no box: give at least one object to track")
    return [_checked(start, height, width) for start in starts]


def _listed(boxes: Iterable[StartBox]) -> list[StartBox]:
    wanted = "boxes by object id, or a list of StartBox"
    if not isinstance(boxes, Iterable):
        raise ValueError(f"boxes: expected {wanted}, got {_shown(boxes)}")
    starts = list(boxes)
    for position, start in enumerate(starts):
        if not isinstance(start, StartBox):
            raise ValueError(f"boxes[{position}]: expected a StartBox, got {_shown(start)}; give {wanted}")
    return starts


def _checked(start: StartBox, height: int, width: int) -> StartBox:
    where = f"object {start.object_id!r}"
    try:
        x, y, w, h = (float(value) for value in start.box)
    except (TypeError, ValueError):
        raise ValueError(f"{where}: expected a box of four numbers x, y, w, h, got {_shown(start.box)}") from None
    try:
        TrackState.from_box((x, y, w, h), height, width)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    if start.frame_size is not None and start.frame_size != (height, width):
        of_height, of_width = start.frame_size
        raise ValueError(f"{where}: its mask is {of_width}x{of_height}, but the frame is {width}x{height}")
    if start.direction not in DIRECTIONS:
        expected = f"{', '.join(DIRECTIONS[:-1])} or {DIRECTIONS[-1]}"
        raise ValueError(f"{where}: direction {start.direction!r}: expected {expected}")
    frame, end_frame = (
        _number(value, f"{where}: expected the number of a frame as {name}")
        for name, value in (("frame", start.frame), ("end_frame", start.end_frame))
    )
    return replace(start, box=(x, y, w, h), frame=frame, end_frame=end_frame)


def _number(value: Any, expected: str) -> int | None:
    try:
        return None if value is None else operator.index(value)
    except TypeError:
        raise ValueError(f"{expected}, got {_shown(value)}") from None


def _shown(value: Any, values: NDArray[Any] | None = None) -> str:
    """A value in a sentence: itself where it is short, else its shape or kind."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {list(value.shape)}"
    text = f"{type(value).__name__} {value!r}"
    if len(text) <= 60:
        return text
    return f"{type(value).__name__} of shape {list(values.shape)}" if values is not None else f"{text[:60]}…"
