"""Track the objects of one clip with an engine, one frame ahead of whoever uses the answers.

It imports no torch: the engine is whatever has `init` and `step`.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import InitVar, dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from model.errors import DeviceLost, device_lost
from model.track.joint_choice import JointChoice
from model.track.objects import Lifetimes, Span, TrackError
from model.tracker.presence import LOST_BELOW
from model.tracker.rivals import ALONE, Others, Place


class TrackingEngine(Protocol):
    """What tracking asks of an engine; `model.engine.Engine` is one, and imports torch. Frames are BGR."""

    def init(self, frame: NDArray[np.uint8], box: NDArray[np.float64]) -> Future[Any]: ...

    def step(
        self, track: Any, frame: NDArray[np.uint8], others: Others = ALONE, *, again: bool = False
    ) -> Future[Any]: ...


@dataclass(frozen=True, slots=True)
class ObjectAnswer:
    """The engine's answer for one object on one frame.

    Attributes:
        score: 1 where the object starts.
        presence: probability that the mask covers the object; 1 where the object starts.
        box: float64 [4], x, y, w, h in pixels; the one given where the object starts.
        output: the engine's own answer, as `model.engine.TrackOutput`.
        is_start: whether the object starts on this frame.
        is_searched: whether it is lost and searched for, whatever its presence.
    """

    object_id: str
    frame_index: int
    pts_s: float
    score: float
    presence: float
    box: NDArray[np.float64]
    output: Any
    is_start: bool = False
    is_searched: bool = False

    @property
    def is_lost(self) -> bool:
        """Whether a row says that the object is lost."""
        return self.is_searched or self.presence < LOST_BELOW

    def failed(self, error: Exception) -> TrackError:
        """What becomes of an error in the work on this answer."""
        return _track_error(self.object_id, self.frame_index, error)


def _track_error(object_id: str, frame: int, error: Exception) -> TrackError:
    message = f"object {object_id!r}, frame {frame}: {error}"
    return TrackError("track", type(error).__name__, object_id, frame, message)


@dataclass(frozen=True, slots=True)
class _Step:
    """One object's frame that the engine works on."""

    span: Span
    frame_index: int
    pts_s: float
    future: Future[Any]


@dataclass(slots=True)
class ObjectTracker:
    """Has an engine track the objects of a clip. The engine works on a frame while its caller uses the one before.

    Args:
        engine: may be shared with other clips.
        lifetimes: of the clip's objects.
        joint: whether the objects are chosen together, for which the engine's parameters have to be.
    """

    engine: TrackingEngine
    lifetimes: Lifetimes
    joint: InitVar[bool] = False
    _choice: JointChoice | None = field(default=None, init=False)
    _frame: NDArray[np.uint8] | None = field(default=None, init=False)
    _tracks: dict[str, Any] = field(default_factory=dict, init=False)
    _steps: list[_Step] = field(default_factory=list, init=False)

    def __post_init__(self, joint: bool) -> None:
        self._choice = JointChoice() if joint else None

    def push(self, frame_index: int, pts_s: float, frame: NDArray[np.uint8]) -> list[ObjectAnswer]:
        """Hand the next frame, uint8 [H, W, 3] BGR, to the engine; return the objects of the frame before, by id.

        Raises:
            TrackError: the engine failed on the frame before, or an init frame was left out.
            DeviceLost: the engine's device works no more; no frame is at fault.
        """
        tracked = self.drain()
        # A track that has ended is let go: the engine waits for requests of those that are alive.
        tracks, self._tracks = self._tracks, {}
        spans = self.lifetimes.advance(frame_index)
        if self._choice is not None and len(spans) < 2:
            self._choice = JointChoice()  # where the others were is forgotten with them
        choice = self._choice if len(spans) > 1 else None
        self._frame = None if choice is None else frame
        others = {} if choice is None else choice.others()
        for span in spans:
            if span.frame == frame_index:
                future = self.engine.init(frame, span.box)
            else:
                track = self._tracks[span.object_id] = tracks[span.object_id]
                future = self.engine.step(track, frame, others.get(span.object_id, ALONE))
            self._steps.append(_Step(span, frame_index, pts_s, future))
        return tracked

    def drain(self) -> list[ObjectAnswer]:
        """Wait for the frame that the engine works on; return its objects, by id.

        Raises:
            TrackError: the engine failed.
            DeviceLost: its device works no more; no frame is at fault.
        """
        steps, self._steps = self._steps, []
        answers = [self._tracked(step) for step in steps]
        if self._choice is not None and self._frame is not None:
            answers = self._chosen_together(self._choice, self._frame, steps, answers)
        return answers

    def _chosen_together(
        self, choice: JointChoice, frame: NDArray[np.uint8], steps: list[_Step], answers: list[ObjectAnswer]
    ) -> list[ObjectAnswer]:
        """The answers of a frame, those of objects at another's place from a step without it."""
        losers = choice.losers(_boxes(answers), _lost(answers))
        others = choice.others() if losers else {}
        again = {
            step.span.object_id: replace(
                step,
                future=self.engine.step(
                    self._tracks[step.span.object_id],
                    frame,
                    _without(others.get(step.span.object_id, ALONE), losers[step.span.object_id]),
                    again=True,
                ),
            )
            for step in steps
            if step.span.object_id in losers and step.span.frame != step.frame_index
        }
        answers = [
            self._tracked(again[answer.object_id]) if answer.object_id in again else answer for answer in answers
        ]
        choice.follow(_boxes(answers), _lost(answers))
        return answers

    def _tracked(self, step: _Step) -> ObjectAnswer:
        span, index = step.span, step.frame_index
        try:
            output = step.future.result()
        except Exception as error:
            if device_lost(error):
                raise DeviceLost(str(error).partition("\n")[0]) from error
            raise _track_error(span.object_id, index, error) from error
        if span.frame != index:
            measures = float(output.score), float(output.presence)
            return ObjectAnswer(
                span.object_id, index, step.pts_s, *measures, output.box, output, is_searched=output.is_searched
            )
        self._tracks[span.object_id], output = output
        return ObjectAnswer(span.object_id, index, step.pts_s, 1.0, 1.0, span.box, output, is_start=True)


def _without(others: Others, taken: Sequence[Place]) -> Others:
    """The others with more places that are taken."""
    return replace(others, taken=[*taken, *others.taken])


def _boxes(answers: list[ObjectAnswer]) -> dict[str, NDArray[np.float64]]:
    return {each.object_id: each.box for each in answers}


def _lost(answers: list[ObjectAnswer]) -> set[str]:
    return {each.object_id for each in answers if each.is_lost}
