"""The supervised protocol of VOT: a tracker that loses its object is started again, and the loss counts.

Source: Kristan et al., "The Visual Object Tracking VOT2016 challenge results", and VOT2018's: a track is lost where
its region does not overlap the truth at all, and starts again five frames later.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

import numpy as np

from model.metrics.polygons import polygon_overlap

RESTART_AFTER = 5
BURN_IN = 10


class State(IntEnum):
    """What a frame of a trajectory is; the first three are VOT's own numbers."""

    SKIPPED = 0
    STARTED = 1
    LOST = 2
    TRACKED = 3


class PolygonTracker(Protocol):
    """What the protocol runs. Frames are uint8 [H, W, 3] BGR, polygons float [8] x1, y1 … x4, y4 in pixels."""

    def start(self, frame: np.ndarray, polygon: np.ndarray) -> None: ...

    def track(self, frame: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True, slots=True)
class Trajectory:
    """One run over one sequence of N frames.

    Attributes:
        name: the sequence.
        states: `State`, int8 [N].
        polygons: what the tracker said, float32 [N, 8]; NaN where it said nothing.
        overlaps: with the truth, float64 [N]; 0 where lost, NaN where the tracker said nothing.
    """

    name: str
    states: np.ndarray
    polygons: np.ndarray
    overlaps: np.ndarray

    def __len__(self) -> int:
        return len(self.states)

    @property
    def starts(self) -> list[int]:
        """Frames in which the tracker was given the truth."""
        return np.flatnonzero(self.states == State.STARTED).tolist()

    @property
    def losses(self) -> list[int]:
        """Frames in which it had lost the object."""
        return np.flatnonzero(self.states == State.LOST).tolist()


def run_supervised(
    name: str, tracker: PolygonTracker, frames: Iterable[np.ndarray], truth: Sequence[np.ndarray] | np.ndarray
) -> Trajectory:
    """Run a tracker over a sequence under the protocol.

    Args:
        name: the sequence, for messages.
        tracker: started on the first frame and again after each loss.
        frames: uint8 [H, W, 3] BGR, read one by one.
        truth: a polygon a frame, [N, 8].

    Raises:
        ValueError: there are more or fewer frames than polygons, or a frame or polygon cannot be used; names it.
    """
    truth = np.asarray(truth, np.float32)
    states = np.full(len(truth), State.SKIPPED, np.int8)
    polygons = np.full((len(truth), 8), np.nan, np.float32)
    overlaps = np.full(len(truth), np.nan)
    start_at, count = 0, 0
    for index, frame in enumerate(frames):
        count += 1
        if index >= len(truth):
            break
        if index < start_at:
            continue
        try:
            if index == start_at:
                tracker.start(frame, truth[index])
                states[index] = State.STARTED
                continue
            polygons[index] = tracker.track(frame)
            overlaps[index] = polygon_overlap(polygons[index], truth[index], frame.shape[1], frame.shape[0])
        except ValueError as error:
            raise ValueError(f"sequence {name}, frame {index}: {error}") from error
        lost = overlaps[index] <= 0
        states[index] = State.LOST if lost else State.TRACKED
        if lost:
            start_at = index + RESTART_AFTER
    if count != len(truth):
        many = "more than" if count > len(truth) else "only"
        raise ValueError(f"sequence {name}: {many} {min(count, len(truth))} frames, but {len(truth)} lines of truth")
    return Trajectory(name, states, polygons, overlaps)


def judged(trajectory: Trajectory, burn_in: int = BURN_IN) -> np.ndarray:
    """Which frames count towards accuracy, bool [N]: those tracked, `burn_in` or more frames after a start."""
    counts = trajectory.states == State.TRACKED
    for start in trajectory.starts:
        counts[start : start + burn_in] = False
    return counts


def judged_overlaps(trajectory: Trajectory) -> np.ndarray:
    """Overlaps that count towards accuracy, float64 [M]; see `judged`."""
    return trajectory.overlaps[judged(trajectory)]
