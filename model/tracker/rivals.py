"""What looks like a track's object and is not: seen beside it while it was surely somewhere else. No torch here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from model.tracker.state import TrackState

Place = tuple[float, float, float, float]
"""Centre x, centre y, width and height, in frame pixels."""

@dataclass(frozen=True, slots=True)
class Others:
    """The other objects of one, on the frame that it steps into.

    Attributes:
        neighbours: boxes of those that are seen; one that stands apart from the object's own place is not taken for it.
        taken: places that are not taken for it wherever they are.
        is_near: whether another is so near that a box may be that of both: the object keeps its size.
    """

    neighbours: Sequence[Place] = ()
    taken: Sequence[Place] = ()
    is_near: bool = False


ALONE = Others()
MOST_AVOIDED = 8
"""Places that a step can be told to avoid, the nearest ones; a fixed number, so that few shapes occur."""
LIKE_IT = 0.5
"""Score from which on something elsewhere looks like the object."""
_SEEN = 3  # frames on which a rival has to be seen before it is one
_FORGET = 90  # frames without sight of it, or since it was taken for one in the target's absence, until it is none
_SAME = 0.75  # sizes of the target that a rival is at most from where it was
_APART = 0.9  # sizes of the target from its own place beyond which a rival is avoided


@dataclass(frozen=True, slots=True)
class _Rival:
    x: float
    y: float
    width: float
    height: float
    seen: int = 1
    left: int = _FORGET
    is_certain: bool = True


@dataclass(slots=True)
class Rivals:
    """The rivals of one track, in frame pixels."""

    _known: list[_Rival] = field(default_factory=list)

    def see(self, peak: tuple[float, float] | None, target: TrackState, *, new: bool) -> None:
        """Take in a frame.

        Args:
            peak: centre of the most object-like place apart from the chosen one; None where nothing is like it.
            target: the track's state, for its size.
            new: whether the track is sure of itself, so that the peak is something else; otherwise it only tells
                where a rival that is known has gone.
        """
        self._known = [replace(rival, left=rival.left - 1) for rival in self._known if rival.left > 0]
        if peak is None:
            return
        near = min(self._known, key=lambda rival: math.dist((rival.x, rival.y), peak), default=None)
        if near is not None and math.dist((near.x, near.y), peak) <= _SAME * _size(target):
            self._known.remove(near)
            left = _FORGET if near.is_certain else near.left
            self._known.append(replace(near, x=peak[0], y=peak[1], seen=near.seen + 1, left=left))
        elif new:
            self._known.append(_Rival(*peak, target.width, target.height))

    def add(self, place: TrackState) -> None:
        """What was found where the lost target cannot be: for a while it is a rival."""
        self.see(place.centre, place, new=False)
        if not any(math.dist((rival.x, rival.y), place.centre) <= _SAME * _size(place) for rival in self._known):
            rival = _Rival(*place.centre, place.width, place.height, seen=_SEEN, is_certain=False)
            self._known.append(rival)

    def places(self) -> list[Place]:
        """Where the rivals are, and the sizes that the target had when they were first seen."""
        return [(rival.x, rival.y, rival.width, rival.height) for rival in self._known if rival.seen >= _SEEN]


def apart(places: Sequence[Place], target: TrackState) -> list[Place]:
    """The places that are not the target's own."""
    return [place for place in places if is_apart(place[:2], target)]


def is_apart(point: tuple[float, float], target: TrackState) -> bool:
    """Whether a point is not at the target's own place."""
    return math.dist(point, target.centre) > _APART * _size(target)


def nearest(places: Sequence[Place], target: TrackState) -> list[Place]:
    """As many of the places as a step can avoid, the nearest to the target first."""
    return sorted(places, key=lambda place: math.dist(place[:2], target.centre))[:MOST_AVOIDED]


def _size(target: TrackState) -> float:
    return math.sqrt(target.width * target.height)
