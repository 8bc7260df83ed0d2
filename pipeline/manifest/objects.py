"""The objects of a clip: where each track starts, checked against each other and against the clip's range."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

from pipeline.clip import DIRECTIONS, Box, Direction, ObjectStart, Polygon, Rle
from pipeline.manifest.problems import Problem, show
from pipeline.manifest.values import number, text, whole

OBJECT_COLUMNS = frozenset(("object_id", "init_frame", "end_frame", "box", "polygon", "mask", "category", "direction"))
_STARTS = ("box", "polygon", "mask")
_LONGEST_SIDE = 65535


@dataclass(frozen=True, slots=True)
class FrameRange:
    """A clip's source frames as far as the manifest tells: with a range in seconds, only the video does.

    Args:
        start: First frame, or None where the range is in seconds.
        end: Half-open end, or None where only the video tells.
        stride: Every n-th frame from `start` is tracked.
    """

    start: int | None
    end: int | None
    stride: int


def check_objects(value: Any, frames: FrameRange, problems: list[Problem]) -> tuple[ObjectStart, ...]:
    """Check the `objects` column of one clip.

    Objects without an `object_id` get their position. The starts of one object are brought together, in the
    order of their init frames, so that the order of key frames in the manifest makes no difference.

    Args:
        value: A list of structs (mappings), as JSON or Arrow give it.
        frames: The clip's range.
        problems: Problems are added here.

    Returns:
        The objects that are good.
    """
    if type(value) is not list or not value:
        problems.append(Problem("objects", "a list of 1 object or more", show(value)))
        return ()
    objects = []
    faults: list[Problem] = []
    for position, item in enumerate(value):
        start = _object(item, position, frames, faults)
        if faults:
            problems += [_inside(problem, position) for problem in faults]
            faults.clear()
        elif start is not None:
            objects.append(start)
    if 1 < len(objects) == len(value):
        return _distinct(objects, value, frames, problems)
    return tuple(objects)


def _object(item: Any, position: int, frames: FrameRange, problems: list[Problem]) -> ObjectStart | None:
    if not isinstance(item, Mapping):
        problems.append(Problem("", "a struct with object_id, init_frame and a box", show(item)))
        return None
    object_id = text(item.get("object_id"), "object_id", problems)
    init = whole(item.get("init_frame"), "init_frame", problems)
    end = whole(item.get("end_frame"), "end_frame", problems)
    _frames(init, end, frames, problems)
    box, polygon, mask = item.get("box"), item.get("polygon"), item.get("mask")
    if (box is not None) + (polygon is not None) + (mask is not None) != 1:
        given = [name for name in _STARTS if item.get(name) is not None]
        problems.append(Problem("", "one of box, polygon and mask", " and ".join(given) or "none of them"))
        return None
    return ObjectStart(
        str(position) if object_id is None else object_id,
        init,
        end,
        None if box is None else check_box(box, "box", problems),
        None if polygon is None else check_polygon(polygon, "polygon", problems),
        None if mask is None else check_mask(mask, "mask", problems),
        text(item.get("category"), "category", problems),
        _direction(item.get("direction"), problems),
    )


def _inside(problem: Problem, position: int) -> Problem:
    column = f"objects[{position}].{problem.column}" if problem.column else f"objects[{position}]"
    return replace(problem, column=column)


def _frames(init: int | None, end: int | None, frames: FrameRange, problems: list[Problem]) -> None:
    if init is not None and frames.start is not None:
        expected = None
        if init < frames.start:
            expected = f"a frame from the clip's start_frame {frames.start} on"
        elif frames.end is not None and init >= frames.end:
            expected = f"a frame before the clip's end_frame {frames.end}"
        elif (init - frames.start) % frames.stride:
            expected = f"start_frame {frames.start} plus a multiple of the stride {frames.stride}"
        if expected is not None:
            problems.append(Problem("init_frame", expected, show(init)))
    if end is not None:
        first = init if init is not None else frames.start or 0
        if end <= first:
            problems.append(Problem("end_frame", f"a frame after the init frame {first}", show(end)))


def _direction(value: Any, problems: list[Problem]) -> Direction:
    if value is None:
        return "forward"
    if value not in DIRECTIONS:
        problems.append(Problem("direction", f"{', '.join(DIRECTIONS[:-1])} or {DIRECTIONS[-1]}", show(value)))
    return value


def check_box(value: Any, column: str, problems: list[Problem]) -> Box | None:
    """x, y, w, h: four finite numbers, w and h above 0."""
    numbers = _numbers(value, 4, "x, y, w, h", column, problems)
    if numbers is None:
        return None
    x, y, w, h = numbers
    if w <= 0:
        problems.append(Problem(f"{column}.w", "a width above 0", show(w)))
    if h <= 0:
        problems.append(Problem(f"{column}.h", "a height above 0", show(h)))
    return x, y, w, h


def check_polygon(value: Any, column: str, problems: list[Problem]) -> Polygon | None:
    """x1, y1, ... x4, y4: eight finite numbers, four corners that enclose an area."""
    numbers = _numbers(value, 8, "x1, y1, ... x4, y4", column, problems)
    if numbers is None:
        return None
    xs, ys = numbers[0::2], numbers[1::2]
    # From the first corner, so that a small polygon far from the origin keeps its digits.
    dx, dy = [x - xs[0] for x in xs], [y - ys[0] for y in ys]
    area = abs(sum(dx[i - 1] * dy[i] - dx[i] * dy[i - 1] for i in range(4))) / 2
    if not area > 1e-9 * max(map(abs, dx + dy)) ** 2:
        problems.append(Problem(column, "corners that enclose an area", show(list(value))))
    return tuple(numbers)  # type: ignore[return-value]


def check_mask(value: Any, column: str, problems: list[Problem]) -> Rle | None:
    """COCO RLE: size [height, width] and compressed counts whose runs fill it, at least one pixel set."""
    if not isinstance(value, Mapping):
        problems.append(Problem(column, "a struct with size [height, width] and counts", show(value)))
        return None
    size, counts = value.get("size"), value.get("counts")
    sides = list(size) if isinstance(size, list | tuple) else []
    sides = [int(side) if type(side) is float and side.is_integer() else side for side in sides]
    if len(sides) != 2 or not all(type(side) is int and 0 < side <= _LONGEST_SIDE for side in sides):
        problems.append(Problem(f"{column}.size", f"[height, width], 1 to {_LONGEST_SIDE} each", show(size)))
        return None
    if type(counts) is not str:
        problems.append(Problem(f"{column}.counts", "a string of compressed COCO counts", show(counts)))
        return None
    runs = _runs(counts)
    if runs is None or min(runs, default=-1) < 0 or sum(runs) != sides[0] * sides[1]:
        expected = f"COCO counts whose runs add up to {sides[0]} x {sides[1]} pixels"
        problems.append(Problem(f"{column}.counts", expected, show(counts)))
    elif sum(runs[1::2]) == 0:
        problems.append(Problem(f"{column}.counts", "a mask with at least one pixel set", show(counts)))
    return {"size": sides, "counts": counts}


def _runs(counts: str) -> list[int] | None:
    """Run lengths of compressed counts (COCO API, `rleFrString`), or None where the text is no such code.

    Five bits a character, lowest first; from the fourth run on, the difference to the last but one.
    """
    runs: list[int] = []
    run = shift = 0
    for char in counts:
        code = ord(char) - 48
        if not 0 <= code < 64 or shift > 30:
            return None
        run |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:
            run -= 1 << shift
        runs.append(run + runs[-2] if len(runs) > 2 else run)
        run = shift = 0
    return runs if shift == 0 else None


def _numbers(value: Any, count: int, names: str, column: str, problems: list[Problem]) -> list[float] | None:
    if type(value) is not list or len(value) != count:
        problems.append(Problem(column, f"a list of {count} numbers ({names})", show(value)))
        return None
    with suppress(OverflowError):  # an int beyond every float
        out = [item + 0.0 for item in value if type(item) is float or type(item) is int]
        if len(out) == count and all(map(isfinite, out)):
            return out
    out = []
    for position, item in enumerate(value):
        part = f"{column}.{'xywh'[position]}" if count == 4 else f"{column}[{position}]"
        if item is None:
            problems.append(Problem(part, "a number", show(item)))
        checked = number(item, part, problems)
        if checked is not None:
            out.append(checked)
    return out if len(out) == count else None


def _distinct(
    objects: list[ObjectStart], value: Iterable[Any], frames: FrameRange, problems: list[Problem]
) -> tuple[ObjectStart, ...]:
    """Refuse an id that comes twice on one frame, and bring the key frames of one object together."""
    if len({start.object_id for start in objects}) == len(objects):
        return tuple(objects)
    clip_start = -1 if frames.start is None else frames.start
    inits = [clip_start if start.init_frame is None else start.init_frame for start in objects]
    named = [item.get("object_id") is not None for item in value]
    first: dict[str, int] = {}
    categories: dict[str, int] = {}
    seen: dict[tuple[str, int], int] = {}
    for position, start in enumerate(objects):
        earlier = first.setdefault(start.object_id, position)
        if start.category is not None:
            known = categories.setdefault(start.object_id, position)
            if objects[known].category != start.category:
                expected = f"the category that objects[{known}] of the same object has"
                problems.append(Problem(f"objects[{position}].category", expected, show(start.category)))
        same = seen.setdefault((start.object_id, inits[position]), position)
        if named[earlier] != named[position]:
            expected = f"an id other than objects[{earlier}] has (the default is the position)"
        elif same != position:
            expected = f"an id that is unique in the clip, or another init_frame than objects[{same}] has"
        else:
            continue
        problems.append(Problem(f"objects[{position}].object_id", expected, show(start.object_id)))
    order = sorted(range(len(objects)), key=lambda position: (first[objects[position].object_id], inits[position]))
    return tuple(objects[position] for position in order)
