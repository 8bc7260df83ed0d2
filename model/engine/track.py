"""A track, its request for one frame, and the output for that frame."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from model.network import Template
from model.network.anchors import STRIDE
from model.tracker import TrackState
from model.tracker.choose import MASK_CELLS_BEFORE
from model.tracker.crop import (
    SEARCH_SIZE,
    TEMPLATE_SIZE,
    SearchWindow,
    check_frame,
    crop,
    mean_colour,
    search_window,
    template_side,
    zoomed,
)
from model.tracker.params import TrackerParams
from model.tracker.presence import PEAK, TrackMemory
from model.tracker.recovery import Recovery, SearchPlace
from model.tracker.rivals import ALONE, LIKE_IT, Others, apart


@dataclass(frozen=True, slots=True)
class TrackOutput:
    """The tracker's output for one frame.

    Attributes:
        score: at the chosen candidate, 0 to 1; 1 on the init frame.
        box: the tracker's axis-aligned box x, y, w, h in frame pixels, float64 [4]; the given one on the init frame.
        mask_probability: float32 [M, M], M 127 or 63.
        window: x, y, w, h of the square of the frame that `mask_probability` covers; it may reach outside.
        threshold: probability above which a pixel is object.
        presence: probability that the mask covers the object (IoU of 0.5 or more), 0 to 1; 1 on the init frame.
        cues: what it was made of, float64 [len(CUES)]; None on the init frame.
        is_searched: whether the object is lost and searched for: what is shown is not yet believed.
    """

    score: float
    box: np.ndarray
    mask_probability: np.ndarray
    window: tuple[float, float, float, float]
    threshold: float
    presence: float = 1.0
    cues: np.ndarray | None = None
    is_searched: bool = False


@dataclass(frozen=True, slots=True)
class Standing:
    """What a step changes of a track, as it was before."""

    state: TrackState
    memory: TrackMemory | None
    recovery: Recovery | None


@dataclass(slots=True, eq=False, weakref_slot=True)
class Track:
    """One object being tracked: its template's kernels, where it stands, its memory. Made by `Engine.init`.

    `recovery` is None where a lost object is not searched for, `before` where steps are not taken back.
    """

    state: TrackState
    frame_size: tuple[int, int]
    fill: np.ndarray
    kernels: Template | None = None
    memory: TrackMemory | None = None
    recovery: Recovery | None = None
    before: Standing | None = None
    latest: Future[Any] | None = None


    def remember(self) -> None:
        """Keep what the next step changes."""
        self.before = Standing(self.state, copy(self.memory), copy(self.recovery))

    def take_back(self) -> None:
        """Undo the last step. Raises RuntimeError where it was not remembered."""
        if self.before is None:
            raise RuntimeError("this track has no step to take back: its engine's parameters are not for joint choice")
        self.state, self.memory, self.recovery = self.before.state, self.before.memory, self.before.recovery
        self.before = None


@dataclass(frozen=True, slots=True)
class Crop:
    """One search window of a request: where it lies, its uint8 BGR pixels, and what is expected in it."""

    look: SearchPlace
    window: SearchWindow
    pixels: np.ndarray


@dataclass(slots=True)
class Request:
    """One frame of one track, cut and waiting; `template`, uint8 BGR, on the init frame only.

    `is_rigid`: the track keeps its size.
    """

    track: Track
    crops: list[Crop]
    template: np.ndarray | None = None
    is_rigid: bool = False
    future: Future[Any] = field(default_factory=Future)


def init_request(frame: np.ndarray, box: Sequence[float] | np.ndarray, params: TrackerParams) -> Request:
    """Start a track on a frame: cut its template and the search window about the given box.

    Raises:
        ValueError: frame or box cannot be used.
    """
    height, width = check_frame(frame)
    state = TrackState.from_box(tuple(box), height, width)
    track = Track(state, (height, width), mean_colour(frame))
    if params.recovery:
        track.recovery = Recovery(state, track.frame_size, params.context)
    side = template_side(state.width, state.height, params.context)
    template = crop(frame, state.centre_x, state.centre_y, side, TEMPLATE_SIZE, track.fill)
    return Request(track, [_crop(track, SearchPlace(state), frame, params.context)], template)


def step_request(
    track: Track,
    frame: np.ndarray,
    context: float,
    others: Others = ALONE,
    *,
    again: bool = False,
) -> Request:
    """Cut a track's search windows out of its next frame: one, or two of a track that is lost and searched for.

    Raises:
        RuntimeError: the track's step before is not resolved.
        ValueError: the frame cannot be used, or is of another size than the init frame.
    """
    if track.latest is not None and not track.latest.done():
        raise RuntimeError("this track has a step under way: wait for its future before the next frame")
    height, width = check_frame(frame)
    if (height, width) != track.frame_size:
        raise ValueError(
            f"the frame is {width}x{height}, but the track started on {track.frame_size[1]}x{track.frame_size[0]}"
        )
    if again:
        track.take_back()
    if track.recovery is None:
        looks: Sequence[SearchPlace] = (SearchPlace(track.state, avoid=tuple(apart(others.neighbours, track.state))),)
    else:
        looks = track.recovery.looks(track.state, others.neighbours)
    if others.taken:
        looks = [replace(look, avoid=(*others.taken, *look.avoid)) for look in looks]
    return Request(track, [_crop(track, look, frame, context) for look in looks], is_rigid=others.is_near)


def _crop(track: Track, look: SearchPlace, frame: np.ndarray, context: float) -> Crop:
    state = look.state
    window = search_window(state.centre_x, state.centre_y, state.width, state.height, context)
    if look.zoom != 1:
        window = zoomed(window, look.zoom)
    return Crop(look, window, crop(frame, state.centre_x, state.centre_y, window.side, SEARCH_SIZE, track.fill))


def peak_place(crop: Crop, evidence: np.ndarray) -> tuple[float, float] | None:
    """The centre, in frame pixels, of the place apart from the chosen one that looks like the object; None if none."""
    score, x, y = evidence[PEAK : PEAK + 3].tolist()
    if score < LIKE_IT:
        return None
    return crop.look.state.centre_x + x / crop.window.scale, crop.look.state.centre_y + y / crop.window.scale


def mask_window(window: SearchWindow, row: int, column: int) -> tuple[float, float, float, float]:
    """Return x, y, w, h of the frame's square that the mask of a score-map cell covers."""
    pixel = window.side / SEARCH_SIZE
    x = window.x + (column - MASK_CELLS_BEFORE) * STRIDE * pixel
    y = window.y + (row - MASK_CELLS_BEFORE) * STRIDE * pixel
    return x, y, TEMPLATE_SIZE * pixel, TEMPLATE_SIZE * pixel


def is_on_another(crop: Crop, row: int, column: int, mask: np.ndarray, threshold: float) -> bool:
    """Whether a mask has its middle at a place that its look was to avoid, though the candidate's box has not.

    Args:
        row, column: the chosen cell.
        mask: float32 [M, M], the probability at it.
    """
    if not crop.look.avoid:
        return False
    rows, columns = np.nonzero(mask > threshold)
    if not len(rows):
        return False
    x, y, width, height = mask_window(crop.window, row, column)
    middle_x = x + (columns.mean() + 0.5) * width / mask.shape[1]
    middle_y = y + (rows.mean() + 0.5) * height / mask.shape[0]
    return any(
        abs(middle_x - place_x) < place_width / 2 and abs(middle_y - place_y) < place_height / 2
        for place_x, place_y, place_width, place_height in crop.look.avoid
    )
