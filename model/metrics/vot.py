"""Accuracy, robustness and expected average overlap of VOT, under two rules that the field uses, by name.

`reference`: as the published SiamMask was judged. `vot-toolkit`: as the challenge's own toolkit 0.7 computes them.
They agree on the protocol, the overlap and what counts in a sequence; they differ in how sequences are put together, in
how robustness is written, in where the runs of EAO begin and end, and in a challenge's window.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from model.metrics.supervised import RESTART_AFTER, State, Trajectory, judged_overlaps

Rule = Literal["reference", "vot-toolkit"]
RULES: tuple[Rule, ...] = get_args(Rule)

Window = tuple[int, int]
"""First and last length, in frames, that EAO averages over."""

EAO_WINDOWS: dict[str, dict[Rule, Window]] = {
    "vot2015": {"reference": (108, 371), "vot-toolkit": (108, 371)},  # the reference has none: vot-toolkit's
    "vot2016": {"reference": (100, 356), "vot-toolkit": (108, 371)},
    "vot2017": {"reference": (100, 356), "vot-toolkit": (100, 356)},
    "vot2018": {"reference": (100, 356), "vot-toolkit": (100, 356)},
}
"""Each rule's window, by challenge."""

_SENSITIVITY = 30


@dataclass(frozen=True, slots=True)
class Scores:
    """What a rule says of a set of trajectories.

    Attributes:
        rule: which.
        accuracy: mean overlap, 0 to 1; `reference`: over all frames that count, NaN where none does; `vot-toolkit`: a
            mean a sequence, weighted by the sequence's length.
        robustness: losses. `reference`: in 100 frames of all sequences; `vot-toolkit`: in a sequence, weighted by the
            sequence's length.
        reliability: chance of not being lost in 30 frames, exp(-30 losses / frames); the AR plot's axis.
        eao: expected average overlap; NaN where every sequence is shorter than the window.
        window: first and last length, in frames, that EAO averages over.
        curve: expected overlap of a run by its length, float64; `curve[k]` is of k frames after the start.
        losses, frames: sums over all sequences.
    """

    rule: Rule
    accuracy: float
    robustness: float
    reliability: float
    eao: float
    window: Window
    curve: np.ndarray
    losses: int
    frames: int


def scores(trajectories: Sequence[Trajectory], rule: Rule, window: Window) -> Scores:
    """Judge one run a sequence under a rule; `window` as in `EAO_WINDOWS`.

    Raises:
        ValueError: there is no trajectory or no such rule.
    """
    if not trajectories:
        raise ValueError("no trajectory to judge")
    if rule not in RULES:
        raise ValueError(f"no rule {rule!r}: expected one of {', '.join(RULES)}")
    lengths = np.array([len(each) for each in trajectories])
    losses = np.array([len(each.losses) for each in trajectories])
    judged = [judged_overlaps(each) for each in trajectories]
    low, high = window
    if rule == "reference":
        together = np.concatenate(judged)
        accuracy = float(together.mean()) if len(together) else math.nan
        robustness = 100 * float(losses.sum()) / float(lengths.sum())
        reliability = math.exp(-_SENSITIVITY * losses.sum() / lengths.sum())
        curve = reference_curve(trajectories)
        part = curve[low - 1 : high]
    else:
        means = [float(values.mean()) if len(values) else 0.0 for values in judged]
        accuracy = float(np.average(means, weights=lengths))
        robustness = float(np.average(losses, weights=lengths))
        reliability = math.exp(-_SENSITIVITY * robustness / lengths.mean())
        curve = toolkit_curve(trajectories)
        part = curve[low : high + 1]
    eao = float(part.mean()) if len(part) else math.nan
    return Scores(
        rule, accuracy, robustness, reliability, eao, window, curve, int(losses.sum()), int(lengths.sum())
    )  # fmt: skip


def toolkit_curve(trajectories: Sequence[Trajectory]) -> np.ndarray:
    """Expected overlap by length, float64 [L], L the longest run: `vot-toolkit`.

    A run goes from a start up to the frame before the loss, or to the sequence's end. A lost run counts with zeros at
    every greater length, one that reached the end only up to its own.
    """
    runs: list[_ScoredRun] = []
    for each in trajectories:
        overlaps = np.where(each.states == State.TRACKED, each.overlaps, 0.0)
        for start, loss in zip(each.starts, [*each.losses, None], strict=False):
            runs.append(_ScoredRun(overlaps[start:loss], loss is not None))
    return _expected(runs, max(len(run.overlaps) for run in runs))


def reference_curve(trajectories: Sequence[Trajectory]) -> np.ndarray:
    """Expected overlap by length, float64 [L], L the longest sequence: `reference`.

    A run goes from a start to the start after it, with 0 from the loss on, and goes on with zeros; the last goes to the
    sequence's end and counts up to its own length. A loss after frame N - 5 of N does not cut the run. One in
    frame N - 5 does, though no frame is left to start on: the reference divides the run's n frames by n + 1, the start
    after it included, so it weighs n / (n + 1); any other run weighs 1.
    """
    runs: list[_ScoredRun] = []
    for each in trajectories:
        overlaps = np.where(each.states == State.TRACKED, each.overlaps, 0.0)
        starts = [0] + [loss + RESTART_AFTER for loss in each.losses if loss + RESTART_AFTER <= len(each)]
        for start, after in zip(starts, [*starts[1:], None], strict=True):
            run = overlaps[start:after]
            runs.append(_ScoredRun(run, after is not None, len(run) / (len(run) + 1) if after == len(each) else 1.0))
    curve = _expected(runs, max(len(each) for each in trajectories))
    curve[0] = 1.0
    return curve


@dataclass(frozen=True, slots=True)
class _ScoredRun:
    """Overlaps from a start on, float64 [n]; a lost run goes on with zeros."""

    overlaps: np.ndarray
    lost: bool
    weight: float = 1.0


def _expected(runs: Sequence[_ScoredRun], longest: int) -> np.ndarray:
    """Mean over the runs that count at a length of their mean overlap up to it, the start's own frame left out."""
    total, weight = np.zeros(longest), np.zeros(longest)
    for run in runs:
        reach = longest if run.lost else len(run.overlaps)
        values = np.zeros(longest)
        values[1 : len(run.overlaps)] = run.overlaps[1:]
        means = np.concatenate([[0.0], np.cumsum(values[1:]) / np.arange(1, longest)])
        total[:reach] += run.weight * means[:reach]
        weight[:reach] += run.weight
    return np.divide(total, weight, out=np.zeros(longest), where=weight > 0)
