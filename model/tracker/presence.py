"""How probable it is that a mask covers its object: a logistic regression over cues of the frame and of the track.

The cues come from what `model.tracker.evidence` measured on the device. None of this changes the track.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.tracker.state import TrackState

PEAK = 5
"""Where the score, x and y of the best candidate elsewhere are among the measures of a window."""
MEASURES = PEAK + 3
"""Numbers of a window before its appearance: see `model.tracker.evidence.Evidence.measure`."""
CUES = (
    "score", "margin", "likeness", "ambiguity", "certainty", "penalty", "jump", "area_change", "area_step",
    "slow_score", "slow_margin", "slow_likeness", "slow_ambiguity",
)  # fmt: skip
"""The logit of the score; that logit less the best one at a place apart; the cosine between the features of this
frame's mask and of the init frame's; how undecided the mask is, and the mean probability inside it; the penalty for a
change of scale and ratio; the move of the centre in sizes of the target, as a logarithm; the change of the mask's area
in the search window
since the init frame and since the frame before, as logarithms without sign; and running means of the first four."""
_SLOW = 4  # of the first so many there are running means
_MEMORY = 0.7  # weight of a running mean's own past
_LEAST = 1e-4  # least probability in a logit
_STILL = 0.02  # a move below this share of the target's size is none
LOST_BELOW = 0.25
"""A row with less presence is lost."""
_FURTHEST = 4.0  # standard deviations; a cue beyond counts as if it were there


class PresenceError(ValueError):
    """A record of a fit cannot be used; the message says what is wrong."""


@dataclass(slots=True)
class TrackMemory:
    """What a track keeps to judge its next frames by.

    Attributes:
        appearance: float32 [C] of unit length, the features of the init frame's mask.
        area, last_area: of the mask on the init frame and on the last one, in pixels of the search window, which grows
            with the object.
        slow: float64 [_SLOW], the running means; None before the first step.
    """

    appearance: NDArray[np.float32]
    area: float
    last_area: float
    slow: NDArray[np.float64] | None = field(default=None)

    @classmethod
    def start(cls, evidence: NDArray[np.float32]) -> TrackMemory:
        """From the evidence of the init frame."""
        area = float(evidence[1])
        return cls(_unit(evidence[MEASURES:]), area, area)

    def glance(self, evidence: NDArray[np.float32], score: float) -> NDArray[np.float64]:
        """The cues of a place where the object may have come back, float64 [len(CUES)]; nothing is taken in.

        NaN stands for the cues that have no meaning there: those of the way from the frame before.
        """
        elsewhere, area, certainty, ambiguity, penalty = (float(value) for value in evidence[:PEAK])
        logit = _logit(score)
        now = (logit, logit - _logit(elsewhere), float(self.appearance @ _unit(evidence[MEASURES:])), ambiguity)
        change = abs(math.log((area + 1) / (self.area + 1)))
        return np.array([*now, certainty, penalty, math.nan, change, math.nan, *now])

    def resume(self, evidence: NDArray[np.float32]) -> None:
        """The object is found again: running means begin anew."""
        self.slow, self.last_area = None, float(evidence[1])

    def cues(
        self, evidence: NDArray[np.float32], score: float, before: TrackState, after: TrackState
    ) -> NDArray[np.float64]:
        """The cues of the next frame, float64 [len(CUES)], which this memory then takes in.

        Args:
            evidence: of the frame, as `Evidence.measure` gives it.
            score: of the chosen candidate.
            before, after: the track's state before the frame and after it.
        """
        elsewhere, area, certainty, ambiguity, penalty = (float(value) for value in evidence[:PEAK])
        logit = _logit(score)
        likeness = float(self.appearance @ _unit(evidence[MEASURES:]))
        moved = math.hypot(after.centre_x - before.centre_x, after.centre_y - before.centre_y)
        cues = np.empty(len(CUES))
        cues[:_SLOW] = logit, logit - _logit(elsewhere), likeness, ambiguity
        cues[_SLOW:-_SLOW] = (
            certainty,
            penalty,
            math.log(moved / math.sqrt(before.width * before.height) + _STILL),
            abs(math.log((area + 1) / (self.area + 1))),
            abs(math.log((area + 1) / (self.last_area + 1))),
        )
        slow = cues[:_SLOW] if self.slow is None else _MEMORY * self.slow + (1 - _MEMORY) * cues[:_SLOW]
        cues[-_SLOW:] = slow
        self.slow, self.last_area = cues[-_SLOW:], area
        return cues


@dataclass(frozen=True, slots=True)
class PresenceFit:
    """A fitted regression; `model.training.presence` makes it.

    Attributes:
        mean, scale: of each of `CUES` where it was fitted.
        weights: of each of `CUES`, of its distance from the mean in scales.
        bias: added to their sum, which is the logit of the probability.
        odds: what a row's odds are multiplied by, see `shown`.
    """

    mean: tuple[float, ...]
    scale: tuple[float, ...]
    weights: tuple[float, ...]
    bias: float
    odds: float = 1.0

    def probability(self, cues: NDArray[np.float64]) -> NDArray[np.float64]:
        """The probability that the mask covers the object (IoU of 0.5 or more) of cues [..., len(CUES)]."""
        return 1 / (1 + np.exp(-(self.distance(cues) @ np.asarray(self.weights) + self.bias)))

    def shown(self, probability: float) -> float:
        """The presence of a row: the probability with its odds multiplied, as clips that the fit has not seen ask for.

        What the tracker decides by presence it decides by the probability itself.
        """
        return probability * self.odds / (1 + probability * (self.odds - 1))

    def distance(self, cues: NDArray[np.float64]) -> NDArray[np.float64]:
        """How far cues [..., len(CUES)] lie from the mean, in scales; 0 where there is none (NaN)."""
        return np.nan_to_num(np.clip((cues - self.mean) / self.scale, -_FURTHEST, _FURTHEST))

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, with the cues by name."""
        rows = zip(CUES, self.mean, self.scale, self.weights, strict=True)
        return {"bias": self.bias, "odds": self.odds, "cues": {name: list(values) for name, *values in rows}}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> PresenceFit:
        """From what `to_dict` gives.

        Raises:
            PresenceError: it is of other cues, or a value is no finite number or a scale is not above 0.
        """
        try:
            names, bias, odds = tuple(record["cues"]), float(record["bias"]), float(record.get("odds", 1.0))
            mean, scale, weights = zip(*(map(float, values) for values in record["cues"].values()), strict=True)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise PresenceError(f"the record of presence is not that of a fit: {error}") from error
        if names != CUES:
            raise PresenceError(f"the record of presence is of the cues {', '.join(names)}, not of {', '.join(CUES)}")
        if not np.isfinite([bias, odds, *mean, *scale, *weights]).all() or min(odds, *scale) <= 0:
            raise PresenceError("the record of presence holds a value that is not finite, or a scale of 0 or less")
        return cls(mean, scale, weights, bias, odds)


def presence_of(metadata: Mapping[str, Any]) -> PresenceFit:
    """The fit that a weights file records, or the generic one.

    Raises:
        PresenceError: its record cannot be used.
    """
    record = metadata.get("presence")
    return GENERIC if record is None else PresenceFit.from_dict(record)


def _logit(probability: float) -> float:
    bounded = min(max(probability, _LEAST), 1 - _LEAST)
    return math.log(bounded / (1 - bounded))


def _unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    return vector / max(float(np.sqrt(vector @ vector)), 1e-12)


GENERIC = PresenceFit.from_dict(
    {
        "bias": 1.95939,
        "cues": {
            "score": (6.74055, 4.20508, 1.9349),
            "margin": (8.87567, 5.35789, 0.33508),
            "likeness": (0.72243, 0.25363, 0.0),
            "ambiguity": (0.82316, 0.46112, -0.83088),
            "certainty": (0.86847, 0.06972, 0.12156),
            "penalty": (0.99408, 0.00866, -0.2203),
            "jump": (-2.76657, 0.66489, 0.22951),
            "area_change": (0.24917, 0.37662, -0.04426),
            "area_step": (0.11161, 0.26003, 0.05995),
            "slow_score": (6.8016, 3.81225, 1.28996),
            "slow_margin": (8.9522, 4.82751, 0.17352),
            "slow_likeness": (0.73102, 0.23618, 0.0),
            "slow_ambiguity": (0.81744, 0.4227, 0.15268),
        },
    }
)
"""For weights without a fit of their own: the bundled model's, without the comparison of features."""
