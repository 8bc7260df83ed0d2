"""Charts of scores, as PNG: a measure by frame, success curves, and the expected average overlap."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from model.caches import place_matplotlib

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from model.metrics import Scores

MOST_PANELS = 24
_BLUE, _ORANGE = "#1f6fb4", "#d9622b"
_THRESHOLDS = np.linspace(0, 1, 101)


def j_by_frame(frames: pa.Table) -> bytes:
    """J and F of each object by frame; of many objects those of lowest mean J."""
    grouped = frames.group_by(["sequence", "object_id"]).aggregate([("j", "mean")]).sort_by("j_mean")
    several = grouped.num_rows > len(set(grouped["sequence"].to_pylist()))
    panels: list[Panel] = []
    most = MOST_PANELS
    for row in grouped.slice(0, most).to_pylist():
        own = (pc.field("sequence") == row["sequence"]) & (pc.field("object_id") == row["object_id"])
        part = frames.filter(own)
        title = f"{row['sequence']} / {row['object_id']}" if several else row["sequence"]
        lines = {"J": part["j"].to_numpy(), "F": part["f"].to_numpy()}
        panels.append((f"{title}   J {row['j_mean']:.2f}", part["frame_index"].to_numpy(), lines, ()))
    left_out = f" (the {most} of {grouped.num_rows} objects with the lowest J)" if grouped.num_rows > most else ""
    return _panels(panels, f"J and F by frame{left_out}", "J, F")


def overlap_by_frame(frames: pa.Table) -> bytes:
    """Overlap of each sequence by frame, losses marked; of many sequences those lost most often come first."""
    lost = pa.array([state == "lost" for state in frames["state"].to_pylist()])
    grouped = frames.append_column("lost", lost.cast(pa.int64())).group_by("sequence")
    order = grouped.aggregate([("lost", "sum"), ("overlap", "mean")])
    order = order.sort_by([("lost_sum", "descending"), ("overlap_mean", "ascending")])
    panels: list[Panel] = []
    for row in order.slice(0, MOST_PANELS).to_pylist():
        part = frames.filter(pc.field("sequence") == row["sequence"])
        index = part["frame_index"].to_numpy()
        marks = index[np.array([state == "lost" for state in part["state"].to_pylist()])]
        values = part["overlap"].to_numpy(zero_copy_only=False).astype(float)
        panels.append((f"{row['sequence']}   {row['lost_sum']} lost", index, {"overlap": values}, marks))
    return _panels(panels, "Overlap by frame", "overlap")


def success(curves: Mapping[str, np.ndarray], subject: str) -> bytes:
    """Share of values above each threshold from 0 to 1; a curve for each named set of values."""
    figure, axes = _figure(6.0, 4.2)
    for (name, values), colour in zip(curves.items(), (_BLUE, _ORANGE), strict=False):
        shares = success_curve(values)
        axes.plot(_THRESHOLDS, shares, color=colour, label=f"{name}   area {np.trapezoid(shares, _THRESHOLDS):.3f}")
    axes.set(xlabel="threshold", ylabel=f"share of {subject} above it", xlim=(0, 1), ylim=(0, 1.02), title="Success")
    axes.legend(frameon=False, loc="lower left")
    return _png(figure)


def success_curve(values: np.ndarray) -> np.ndarray:
    """Share of values above 0, 0.01, … 1, float64 [101]; zeros where there are no values."""
    values = np.asarray(values, float)
    if not values.size:
        return np.zeros(len(_THRESHOLDS))
    return np.array([float((values > threshold).mean()) for threshold in _THRESHOLDS])


def eao(scores: Sequence[Scores]) -> bytes:
    """Expected overlap by length, a curve and its mean over the window for each rule, the window behind it."""
    figure, axes = _figure(6.4, 4.2)
    for each, style, colour in zip(scores, ("-", "--"), (_BLUE, _ORANGE), strict=False):
        low, high = each.window
        axes.axvspan(low, high, color=colour, alpha=0.1, lw=0)
        label = f"{each.rule}   EAO {each.eao:.4f}, {low} to {high} frames"
        axes.plot(np.arange(1, len(each.curve)), each.curve[1:], style, color=colour, label=label)
    longest = max(len(each.curve) for each in scores)
    axes.set(xlabel="frames after the start", ylabel="expected average overlap", title="EAO")
    axes.set(xlim=(0, longest), ylim=(0, 1.02))
    axes.legend(frameon=False, loc="lower left")
    return _png(figure)


Panel = tuple[str, np.ndarray, Mapping[str, np.ndarray], Sequence[int] | np.ndarray]
"""Title, frames, values by name, and frames to mark."""


def _panels(panels: Sequence[Panel], title: str, label: str) -> bytes:
    place_matplotlib()
    from matplotlib.figure import Figure

    columns = min(4, max(1, len(panels)))
    rows = -(-len(panels) // columns) or 1
    figure = Figure(figsize=(max(5.0, 3.1 * columns), 1.9 * rows + 0.6), layout="constrained", dpi=130)
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    for axes, (name, index, lines, marks) in zip(grid.flat, panels, strict=False):
        for (line, values), colour in zip(lines.items(), (_BLUE, _ORANGE), strict=False):
            axes.plot(index, values, color=colour, lw=1.1, label=line)
        for mark in marks:
            axes.axvline(mark, color=_ORANGE, lw=1)
        axes.set_title(name, fontsize=9)
        _tidy(axes)
        axes.set_ylim(0, 1.02)
    for axes in grid[:, 0]:
        axes.set_ylabel(label)
    if panels and len(panels[0][2]) > 1:
        grid.flat[0].legend(frameon=False, fontsize=8, loc="lower left")
    figure.suptitle(title, fontsize=11)
    return _png(figure)


def _figure(width: float, height: float) -> tuple[Figure, Any]:
    place_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", dpi=130)
    axes = figure.subplots()
    _tidy(axes)
    return figure, axes


def _tidy(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#dddddd", lw=0.6)
    axes.tick_params(labelsize=8)


def _png(figure: Figure) -> bytes:
    made = io.BytesIO()
    figure.savefig(made, format="png")
    return made.getvalue()
