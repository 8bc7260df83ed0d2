"""Where to look for an object that is lost, and when to believe that it is found.

A lost track keeps the state it last had for sure. On every frame it looks about that place, by turns near and wide, and
at the next tile of a cover of the whole frame: two windows, so that it costs at most two steps. For the first frames it
is followed on as before instead of looking about: one that is about to come to itself does. What looks like the object
is looked at once more on the next frame before the track goes on from there. No torch here.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from model.tracker.crop import SEARCH_SIZE, TEMPLATE_SIZE, context_side
from model.tracker.presence import LOST_BELOW
from model.tracker.rivals import Place, Rivals, apart, is_apart
from model.tracker.state import TrackState

PATIENCE = 10
"""Frames in a row of little presence after which a track is searched for."""
FOLLOWED_ON = 10
"""Frames for which a lost track goes on as it was, in place of a look about: it may come to itself."""
SURE = 0.6  # presence from which on a state is one to come back to
_FIND, _AGREE = 0.5, 0.5  # presence of what is looked at once more, and with which that look has to agree
_HISTORY = 64  # states that are remembered: where an object was going, and how large it was before it was half hidden
_WIDE = 2.0  # sides of a search window that a wide look has
_DRIFT = 0.1  # sizes that a lost object may move a frame beyond twice its speed
_MOST_TILES = 8
# Sides of a template's window that a tile's candidates span: the score map is 200 of 255 pixels wide.
_REACH = (SEARCH_SIZE - 1 - 56) / TEMPLATE_SIZE


@dataclass(frozen=True, slots=True)
class SearchPlace:
    """One search window of a frame.

    Attributes:
        state: the window's centre, and the size that the target is expected to have.
        zoom: sides of a usual window that this one has; above 1 it is seen coarsely.
        is_free: whether the target may as well be at the window's edge as in its middle.
        avoid: where others are, which the target is not.
    """

    state: TrackState
    zoom: float = 1.0
    is_free: bool = False
    avoid: tuple[Place, ...] = ()


@dataclass(slots=True)
class Recovery:
    """Whether one track is lost, and what is done to find it.

    Args:
        place: where the track starts.
        frame_size: height and width in pixels.
        context: margin about the target, as a share of width plus height.
    """

    place: TrackState
    frame_size: tuple[int, int]
    context: float
    rivals: Rivals = field(default_factory=Rivals, init=False)
    is_lost: bool = field(default=False, init=False)
    _history: tuple[TrackState, ...] = field(init=False)
    _velocity: tuple[float, float] = field(default=(0.0, 0.0), init=False)
    _doubts: int = field(default=0, init=False)
    _found: TrackState | None = field(default=None, init=False)
    _turn: int = field(default=0, init=False)
    _followed: TrackState = field(init=False)
    _tiles: tuple[SearchPlace, ...] = field(default=(), init=False)

    def __post_init__(self) -> None:
        self._history, self._followed = (self.place,), self.place

    def looks(self, state: TrackState, neighbours: Sequence[Place] = ()) -> Sequence[SearchPlace]:
        """The windows of the next frame of a track at `state`: one, or two while it is lost.

        Args:
            neighbours: where the clip's other objects are.
        """
        others = [*neighbours, *self.rivals.places()]
        if not self.is_lost:
            return (SearchPlace(state, avoid=tuple(apart(others, state))),)
        avoid = tuple(others)
        if self._found is not None or self._turn < FOLLOWED_ON:
            state = self._found or self._followed
            near = SearchPlace(state, avoid=(*neighbours, *apart(self.rivals.places(), state)))
        else:
            place, zoom = (self.place, _WIDE) if self._turn % 2 else (self._expected(), 1.0)
            near = SearchPlace(place, zoom, is_free=True, avoid=avoid)
        return near, replace(self._tiles[self._turn % len(self._tiles)], avoid=avoid)

    def followed(self, presence: float, state: TrackState, peak: tuple[float, float] | None) -> None:
        """Take in a frame on which the track is not lost; it may be from the next one on.

        Args:
            peak: where else it looks like the object, if anywhere.
        """
        self.rivals.see(peak if presence >= SURE else self._foreign(peak), state, new=presence >= SURE)
        if presence >= SURE:
            self._history = (*self._history[1 - _HISTORY :], state)
        self._doubts = self._doubts + 1 if presence < LOST_BELOW else 0
        self._followed = state
        if self._doubts >= PATIENCE:
            self.is_lost, self._found, self._turn = True, None, 0
            self.place, self._velocity = before_loss(self._history)
            self._tiles = tiles(self.place, self.frame_size, self.context)

    def searched(
        self,
        presences: Sequence[float],
        states: Sequence[TrackState],
        peaks: Sequence[tuple[float, float] | None],
    ) -> int:
        """Take in a frame of a lost track: what its looks, in their order, have found, and where else it looks like it.

        Returns:
            Which of them is the frame's answer. The track goes on from there where `is_lost` is False afterwards.
        """
        self._turn += 1
        for peak in peaks:
            self.rivals.see(self._foreign(peak), self.place, new=False)
        reach = self._reach()
        for state, presence in zip(states, presences, strict=True):
            if presence >= _FIND and math.dist(state.centre, self.place.centre) > reach:
                self.rivals.add(state)
        if self._found is not None and presences[0] >= _AGREE:
            self.is_lost, self._doubts, self._found = False, 0, None
            self._history = (states[0],)
            return 0
        self._followed = states[0]
        order = sorted(range(len(presences)), key=presences.__getitem__, reverse=True)
        near = [i for i in order if presences[i] >= _FIND and math.dist(states[i].centre, self.place.centre) <= reach]
        self._found = states[near[0]] if near else None
        return (near or order)[0]

    @property
    def has_find(self) -> bool:
        """Whether the last frame's answer is something that may be the object, and is looked at once more."""
        return self._found is not None

    def _foreign(self, peak: tuple[float, float] | None) -> tuple[float, float] | None:
        """A peak seen in doubt, unless it is where the object was last for sure: what is there may be the object."""
        return peak if peak is not None and is_apart(peak, self._history[-1]) else None

    def _reach(self) -> float:
        """How far from its last place the object can be by now."""
        size = math.sqrt(self.place.width * self.place.height)
        return size * (1 + _DRIFT * self._turn) + 2 * math.hypot(*self._velocity) * self._turn

    def _expected(self) -> TrackState:
        """Where the object would be, had it gone on as before; in the frame."""
        height, width = self.frame_size
        x, y = (at + self._turn * speed for at, speed in zip(self.place.centre, self._velocity, strict=True))
        return replace(self.place, centre_x=min(max(x, 0.0), width), centre_y=min(max(y, 0.0), height))


def before_loss(history: Sequence[TrackState]) -> tuple[TrackState, tuple[float, float]]:
    """Where an object was last, with the size that it had when it was not yet half hidden, and its speed a frame.

    Args:
        history: the states of frames on which it was surely there, the last at the end.
    """
    last, first = history[-1], history[0]
    sizes = sorted(((state.width, state.height) for state in history), key=math.prod)
    width, height = sizes[len(sizes) * 3 // 4]
    steps = max(1, len(history) - 1)
    speed = (last.centre_x - first.centre_x) / steps, (last.centre_y - first.centre_y) / steps
    return replace(last, width=width, height=height), speed


def tiles(place: TrackState, frame_size: tuple[int, int], context: float) -> tuple[SearchPlace, ...]:
    """Windows that cover the frame, as coarse as it takes for there to be few; the nearest to the place first."""
    height, width = frame_size
    reach = _REACH * context_side(place.width, place.height, context)
    for zoom in itertools.accumulate(itertools.repeat(2.0), lambda a, b: a * b, initial=1.0):
        columns, rows = math.ceil(width / (reach * zoom)), math.ceil(height / (reach * zoom))
        if columns * rows <= _MOST_TILES:
            break
    centres = [
        ((column + 0.5) * width / columns, (row + 0.5) * height / rows)
        for row in range(rows)
        for column in range(columns)
    ]
    centres.sort(key=lambda centre: math.hypot(centre[0] - place.centre_x, centre[1] - place.centre_y))
    return tuple(SearchPlace(TrackState(x, y, place.width, place.height), zoom, is_free=True) for x, y in centres)
