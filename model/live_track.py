"""A track, what it asks of the device for one frame, and what it says of it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from model.anchors import STRIDE
from model.crop import (
    SEARCH_SIZE,
    TEMPLATE_SIZE,
    SearchWindow,
    check_frame,
    crop,
    mean_colour,
    search_window,
    template_side,
)
from model.network import Template
from model.tracker import TrackState
from model.tracker.choose import MASK_CELLS_BEFORE


@dataclass(frozen=True, slots=True)
class TrackOutput:
    """What the tracker says of one frame.

    Attributes:
        score: at the chosen candidate, 0 to 1; 1 on the init frame.
        box: the tracker's axis-aligned box x, y, w, h in frame pixels, float64 [4]; the given one on the init frame.
        mask_probability: float32 [M, M], M 127 or 63.
        window: x, y, w, h of the square of the frame that `mask_probability` covers; it may reach outside.
        threshold: probability above which a pixel is object.
    """

    score: float
    box: np.ndarray
    mask_probability: np.ndarray
    window: tuple[float, float, float, float]
    threshold: float


@dataclass(slots=True, eq=False, weakref_slot=True)
class Track:
    """One object being tracked: its template's kernels and where it stands. Made by `Engine.init`."""

    state: TrackState
    frame_size: tuple[int, int]
    fill: np.ndarray
    kernels: Template | None = None
    latest: Future[Any] | None = None


@dataclass(slots=True)
class Request:
    """One frame of one track, cut and waiting: uint8 BGR crops, `template` on the init frame only."""

    track: Track
    window: SearchWindow
    search: np.ndarray
    template: np.ndarray | None = None
    future: Future[Any] = field(default_factory=Future)


def init_request(frame: np.ndarray, box: Sequence[float] | np.ndarray, context: float) -> Request:
    """Start a track on a frame: cut its template and the search window about the given box.

    Raises:
        ValueError: frame or box cannot be used.
    """
    height, width = check_frame(frame)
    state = TrackState.from_box(tuple(box), height, width)
    track = Track(state, (height, width), mean_colour(frame))
    side = template_side(state.width, state.height, context)
    template = crop(frame, state.centre_x, state.centre_y, side, TEMPLATE_SIZE, track.fill)
    return _request(track, frame, context, template)


def step_request(track: Track, frame: np.ndarray, context: float) -> Request:
    """Cut a track's search window out of its next frame.

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
    return _request(track, frame, context)


def _request(track: Track, frame: np.ndarray, context: float, template: np.ndarray | None = None) -> Request:
    state = track.state
    window = search_window(state.centre_x, state.centre_y, state.width, state.height, context)
    search = crop(frame, state.centre_x, state.centre_y, window.side, SEARCH_SIZE, track.fill)
    return Request(track, window, search, template)


def mask_window(window: SearchWindow, row: int, column: int) -> tuple[float, float, float, float]:
    """Return x, y, w, h of the frame's square that the mask of a score-map cell covers."""
    pixel = window.side / SEARCH_SIZE
    x = window.x + (column - MASK_CELLS_BEFORE) * STRIDE * pixel
    y = window.y + (row - MASK_CELLS_BEFORE) * STRIDE * pixel
    return x, y, TEMPLATE_SIZE * pixel, TEMPLATE_SIZE * pixel
