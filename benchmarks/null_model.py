"""An engine that finds nothing and costs nothing, or a fixed time a frame: what is left is the service's own cost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from model.tracker.rivals import ALONE, Others

_NOTHING = np.zeros((1, 1), np.float32)


@dataclass(frozen=True, slots=True)
class NullOutput:
    """An answer without a mask, read by `model.masks.finish.finish`: the box is where the track started."""

    score: float
    box: np.ndarray
    presence: float = 1.0
    mask_probability: np.ndarray = field(default_factory=lambda: _NOTHING)
    window: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    threshold: float = 0.5
    is_searched: bool = False


@dataclass(frozen=True, slots=True)
class NullStats:
    """What `Engine.stats` answers, as far as the service reads it."""

    steps: int
    tracks: int
    busy_s: float
    idle_s: float


class NullEngine:
    """Answers every frame with the box that its track started with (`pipeline.actor.clip_tracker.TrackingEngine`).

    Args:
        frame_s: seconds that the device is taken for a track's frame; 0 answers at once. One frame at a time, as a
            device would: two callers wait for each other.
        at_first: called before the first answer.
    """

    precision = "fp32"
    trials: Sequence[Any] = ()

    def __init__(self, frame_s: float = 0.0, at_first: Callable[[], None] = lambda: None) -> None:
        self._frame_s, self._at_first = frame_s, at_first
        self._device = threading.Lock()
        self._counting = threading.Lock()
        self._steps = 0
        self._since = time.perf_counter()

    def init(self, frame: np.ndarray, box: np.ndarray) -> Future[Any]:
        """A track, which is its box, and the answer on the same frame."""
        start = np.asarray(box, np.float64)
        return self._answer((start, NullOutput(1.0, start)))

    def step(
        self, track: np.ndarray, frame: np.ndarray, others: Others = ALONE, *, again: bool = False
    ) -> Future[Any]:
        """The answer on the next frame."""
        return self._answer(NullOutput(0.5, track))

    def stats(self) -> NullStats:
        """Counts and times so far."""
        busy = self._steps * self._frame_s
        return NullStats(self._steps, self._steps, busy, max(0.0, time.perf_counter() - self._since - busy))

    def close(self) -> None:
        """Nothing to end."""

    def _answer(self, value: Any) -> Future[Any]:
        if self._frame_s:
            with self._device:
                time.sleep(self._frame_s)
        with self._counting:
            if not self._steps:
                self._at_first()
            self._steps += 1
        future: Future[Any] = Future()
        future.set_result(value)
        return future


def build_null_engine(model: Any, placement: Any, precision: Any) -> NullEngine:
    """For `pipeline.driver.run.run(options, build_engine=…)`: an engine that costs nothing."""
    return NullEngine()
