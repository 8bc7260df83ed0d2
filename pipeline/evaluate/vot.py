"""Run the tracker over VOT sequences under the supervised protocol, and put what came out into tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pipeline.errors import UsageError
from pipeline.evaluate.sequences import VotSequence

if TYPE_CHECKING:
    from model.engine import Engine
    from model.metrics import Rule, Scores, Trajectory, Window

STATES = ("skipped", "started", "lost", "tracked")
"""Names of `model.metrics.State`, by number."""

RULE_ROWS = pa.schema(
    {
        "rule": pa.string(),
        **{name: pa.float64() for name in ("accuracy", "robustness", "reliability", "eao")},
        **{name: pa.int64() for name in ("losses", "frames", "low", "high")},
    }
)


@dataclass(frozen=True, slots=True)
class VotResult:
    """Trajectories and what each rule says of them.

    Attributes:
        trajectories: one a sequence.
        scores: one a rule.
        frames: a row a frame: sequence, frame_index, state, judged, overlap, corners.
        sequences: a row a sequence: sequence, frames, losses, accuracy (mean overlap of its judged frames).
        rules: a row a rule.
    """

    trajectories: Sequence[Trajectory]
    scores: Sequence[Scores]
    frames: pa.Table
    sequences: pa.Table
    rules: pa.Table


def judge_vot(
    sequences: Sequence[VotSequence],
    engine: Engine,
    *,
    windows: Mapping[Rule, Window],
    rotated_box: str = "mbr",
    at_once: int = 1,
    done: Callable[[Trajectory], None] = lambda trajectory: None,
) -> VotResult:
    """Track every sequence, `at_once` of them side by side, and judge them together.

    Args:
        windows: what EAO averages over, by rule, as in `model.metrics.EAO_WINDOWS`.
        done: called with each trajectory, in order.

    Raises:
        UsageError: a sequence's frames cannot be read or do not fit its truth.
    """
    from model.metrics import run_supervised, scores
    from model.metrics.vot import RULES
    from model.track.polygon_tracker import EngineTracker

    def track(sequence: VotSequence) -> Trajectory:
        try:
            return run_supervised(
                sequence.name, EngineTracker(engine, rotated_box), sequence.frames(), sequence.truth
            )  # fmt: skip
        except ValueError as error:
            raise UsageError(str(error)) from error

    trajectories = []
    with ThreadPoolExecutor(at_once, thread_name_prefix="vot") as pool:
        for trajectory in pool.map(track, sequences):
            trajectories.append(trajectory)
            done(trajectory)
    judged = [scores(trajectories, rule, windows[rule]) for rule in RULES]
    frames, rows = frame_table(trajectories), sequence_table(trajectories)
    return VotResult(trajectories, judged, frames, rows, rule_table(judged))


def frame_table(trajectories: Sequence[Trajectory]) -> pa.Table:
    """A row a frame; `overlap` is null where the tracker said nothing."""
    from model.metrics.supervised import judged

    parts = []
    for each in trajectories:
        reported = ~np.isnan(each.overlaps)
        corners = [row.tolist() if known else None for row, known in zip(each.polygons, reported, strict=True)]
        parts.append(
            pa.table(
                {
                    "sequence": pa.array([each.name] * len(each), pa.string()),
                    "frame_index": pa.array(np.arange(len(each))),
                    "state": pa.array([STATES[state] for state in each.states], pa.string()),
                    "judged": pa.array(judged(each)),
                    "overlap": pa.array(each.overlaps, mask=~reported),
                    "corners": pa.array(corners, pa.list_(pa.float32(), 8)),
                }
            )
        )
    return pa.concat_tables(parts)


def sequence_table(trajectories: Sequence[Trajectory]) -> pa.Table:
    """A row a sequence; `accuracy` is null where no frame is judged."""
    from model.metrics import judged_overlaps

    judged = [judged_overlaps(each) for each in trajectories]
    return pa.table(
        {
            "sequence": pa.array([each.name for each in trajectories], pa.string()),
            "frames": pa.array([len(each) for each in trajectories], pa.int64()),
            "judged": pa.array([len(values) for values in judged], pa.int64()),
            "losses": pa.array([len(each.losses) for each in trajectories], pa.int64()),
            "accuracy": pa.array([float(values.mean()) if len(values) else None for values in judged], pa.float64()),
        }
    )


def rule_table(scores: Sequence[Scores]) -> pa.Table:
    """A row a rule; null: `eao` where every sequence is shorter than the window, `accuracy` where no frame counts."""
    rows: list[dict[str, Any]] = []
    for each in scores:
        row = {name: getattr(each, name) for name in RULE_ROWS.names[:-2]}
        known = {name: None if isinstance(value, float) and np.isnan(value) else value for name, value in row.items()}
        rows.append({**known, "low": each.window[0], "high": each.window[1]})
    return pa.Table.from_pylist(rows, schema=RULE_ROWS)
