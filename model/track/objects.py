"""The objects of one clip through its frames: where each starts, starts anew and ends.

An object has a span forward, a span backward or both for each of its starts. A span begins on its init frame and lasts
until its end frame, or until the object's next start in its direction. `spans_of` and `backward_spans_of` check the
starts, and `Lifetimes` says which spans are tracked on a frame. A run's clips and `track_video` both use them, through
`model.track.object_tracker`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from model.track.start_box import Direction, StartBox


class TrackError(Exception):
    """An object cannot be tracked as asked; in a run it becomes its clip's failed row.

    Attributes:
        stage: "init" or "track".
        error_type: `ObjectOutsideFrame`, `InitFrameOutsideClip`, `InitFrameOffStride`, `InitFrameNotDecoded` or
            `UnusableInit` (stage init), or the name of what the tracker raised, which is the cause (stage track).
        object_id, frame: the object, and the source frame at fault.
        message: names the object, and what was expected.
    """

    def __init__(self, stage: str, error_type: str, object_id: str, frame: int, message: str) -> None:
        super().__init__(stage, error_type, object_id, frame, message)
        self.stage, self.error_type, self.object_id, self.frame = stage, error_type, object_id, frame
        self.message = message

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True, slots=True)
class ClipFrames:
    """The frames of a clip that are tracked: every `stride`-th of `[first, end)`, all of one size in pixels."""

    first: int
    end: int
    height: int
    width: int
    stride: int = 1


@dataclass(frozen=True, slots=True)
class Span:
    """One object from a start on: tracked from `frame` to `end_frame`, which is the first frame without it.

    Attributes:
        end_frame: after `frame`, or before it where the span runs backward.
        box: where it starts on `frame`, float64 [4], x, y, w, h in pixels.
    """

    object_id: str
    frame: int
    end_frame: int
    box: NDArray[np.float64]


def spans_of(starts: Iterable[StartBox], frames: ClipFrames) -> list[Span]:
    """Return the spans of a clip's objects that run forward, in the order of their frames.

    Raises:
        TrackError: an init frame lies outside the clip or off its stride, an end frame is not after it, a box lies
            outside the frame or is no larger than a pixel, or an object starts twice on one frame.
    """
    spans = []
    for track in _tracks(starts, frames):
        nexts = [span.frame for span, _ in track[1:]] + [frames.end]
        spans += [
            replace(span, end_frame=min(span.end_frame, following))
            for (span, direction), following in zip(track, nexts, strict=True)
            if direction != "backward"
        ]
    return sorted(spans, key=lambda span: span.frame)


def backward_spans_of(starts: Iterable[StartBox], frames: ClipFrames) -> list[Span]:
    """Return the spans that run backward, in the order in which they come: the last frame first.

    One ends with the clip's first frame, or before the object's start that comes before its own. Where that start has
    an end frame, the object is not there from that frame to its next start, and is not tracked back into that time.

    Raises:
        TrackError: as for `spans_of`.
    """
    spans = []
    for track in _tracks(starts, frames):
        end = frames.first - 1
        for (span, direction), following in zip(track, [*(span for span, _ in track[1:]), None], strict=True):
            # The init frame of both directions has its row from the span that runs forward.
            if direction == "backward" or (direction == "both" and end < span.frame - frames.stride):
                spans.append(replace(span, end_frame=end))
            if following is not None:
                end = following.frame - 1 if span.end_frame < following.frame else span.frame
    return sorted(spans, key=lambda span: -span.frame)


def _tracks(starts: Iterable[StartBox], frames: ClipFrames) -> list[list[tuple[Span, Direction]]]:
    """The starts of each object in the order of their frames, with spans that run forward to their end frames."""
    tracks: dict[str, list[tuple[Span, Direction]]] = {}
    for start in starts:
        tracks.setdefault(start.object_id, []).append((_span(start, frames), start.direction))
    for track in tracks.values():
        track.sort(key=lambda item: item[0].frame)
        for (span, _), (following, _) in pairwise(track):
            if span.frame == following.frame:
                text = f"it starts twice on frame {span.frame}: give each object an id of its own"
                _refuse("UnusableInit", span.object_id, span.frame, text)
    return list(tracks.values())


def _span(start: StartBox, frames: ClipFrames) -> Span:
    object_id, first, end = start.object_id, frames.first, frames.end
    frame = first if start.frame is None else start.frame
    if not first <= frame < end:
        text = f"init_frame {frame} lies outside of the clip's frames {first} to {end - 1}"
        _refuse("InitFrameOutsideClip", object_id, frame, text)
    if (frame - first) % frames.stride:
        text = f"init_frame {frame} is not a multiple of the stride {frames.stride} after frame {first}"
        _refuse("InitFrameOffStride", object_id, frame, text)
    if start.end_frame is not None and start.end_frame <= frame:
        text = f"its end_frame {start.end_frame} is not after its init_frame {frame}"
        _refuse("InitFrameOutsideClip", object_id, frame, text)
    x, y, w, h = (float(value) for value in start.box)
    if x >= frames.width or y >= frames.height or x + w <= 0 or y + h <= 0:
        size = f"{frames.width}x{frames.height}"
        text = f"its box x={x:g} y={y:g} w={w:g} h={h:g} lies outside of the {size} frame"
        _refuse("ObjectOutsideFrame", object_id, frame, text)
    if w < 1 and h < 1 or (0 <= x <= 1 and 0 <= y <= 1 and w <= 1 and h <= 1):
        text = f"its box x={x:g} y={y:g} w={w:g} h={h:g} is no larger than a pixel"
        if max(x, y, w, h) <= 1:
            text += f": give pixels of the {frames.width}x{frames.height} frame, not fractions of it (0 to 1)"
        _refuse("UnusableInit", object_id, frame, text)
    return Span(object_id, frame, end if start.end_frame is None else start.end_frame, np.array([x, y, w, h]))


def _refuse(error_type: str, object_id: str, frame: int, text: str) -> NoReturn:
    raise TrackError("init", error_type, object_id, frame, f"object {object_id!r}: {text}")


class Lifetimes:
    """Which spans are tracked on each frame. Undecodable frames are left out.

    Args:
        spans: as `spans_of` returns them, for frames in ascending order, or as `backward_spans_of` does.
        backward: whether the frames come in descending order.
    """

    __slots__ = ("_live", "_sign", "_waiting")

    def __init__(self, spans: Iterable[Span], *, backward: bool = False) -> None:
        self._waiting = deque(spans)
        self._live: dict[str, Span] = {}
        self._sign = -1 if backward else 1

    def advance(self, frame: int) -> list[Span]:
        """Return the spans tracked on this frame, by object id; those whose `frame` it is start on it.

        Raises:
            TrackError: an init frame before this one was left out.
        """
        while self._waiting and self._sign * (frame - self._waiting[0].frame) >= 0:
            span = self._waiting.popleft()
            if span.frame != frame:
                _not_decoded(span)
            self._live[span.object_id] = span
        self._live = {
            object_id: span for object_id, span in self._live.items() if self._sign * (span.end_frame - frame) > 0
        }
        return [self._live[object_id] for object_id in sorted(self._live)]

    def finish(self) -> None:
        """Check, after the last frame, that every span has started.

        Raises:
            TrackError: the init frame of one was left out.
        """
        if self._waiting:
            _not_decoded(self._waiting[0])


def _not_decoded(span: Span) -> NoReturn:
    _refuse("InitFrameNotDecoded", span.object_id, span.frame, f"its init_frame {span.frame} could not be decoded")
