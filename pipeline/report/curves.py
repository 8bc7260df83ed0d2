"""Curves of a clip as inline SVG whose colours are the page's own, so that they follow light and dark."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.caches import place_matplotlib
from model.video.overlay import PALETTE
from pipeline.report.tracks import Curve

# matplotlib knows no CSS variables: it draws in stand-ins, which are replaced in its SVG.
_INK, _GRID, _MARK = "#0b0a01", "#0b0a02", "#0b0a03"
_VARIABLES = {_INK: "var(--muted)", _GRID: "var(--line)", _MARK: "var(--faint)"} | {
    f"#0b0b{i:02x}": f"var(--object-{i})" for i in range(len(PALETTE))
}
_SIZE_INCHES = (4.2, 1.85)
_SETTINGS: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.size": 7,
    "axes.edgecolor": _GRID,
    "axes.linewidth": 0.6,
    "axes.labelcolor": _INK,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "path.simplify": True,
}


def draw_curves(
    name: str,
    curves: Sequence[Curve],
    *,
    first_frame: int,
    end_frame: int,
    frame_pixels: int,
    marked: Sequence[int],
) -> str:
    """Score and area of objects over the frames of a clip, as an `<svg>` element; dashed where the object is lost.

    Args:
        name: the clip's; ids in the element are made from it.
        curves: the n-th is drawn in the overlay's n-th colour.
        first_frame, end_frame: the clip's range, half-open.
        frame_pixels: width times height; areas are shown as a share of it.
        marked: frames to mark, such as those that are shown beside the curves.
    """
    place_matplotlib()
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    settings: Any = {**_SETTINGS, "svg.hashsalt": name}
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=_SIZE_INCHES, dpi=72)
        FigureCanvasSVG(figure)
        score, area = figure.subplots(2, 1, sharex=True)
        figure.subplots_adjust(left=0.09, right=0.99, top=0.91, bottom=0.1, hspace=0.42)
        for axes in (score, area):
            axes.set_facecolor("none")
            axes.grid(axis="y", color=_GRID, linewidth=0.6, clip_on=False)
            axes.spines[["top", "right", "left"]].set_visible(False)
            for shown in marked:
                axes.axvline(shown, color=_MARK, linewidth=0.6, dashes=(4, 4), clip_on=False)
        for i, curve in enumerate(curves):
            colour = f"#0b0b{i:02x}"
            frame, low, mean, size, lost = _broken(curve)
            if curve.rows > len(curve.frame):
                score.fill_between(frame, low, mean, color=colour, alpha=0.18, linewidth=0, clip_on=False)
            for axes, values in ((score, mean), (area, 100 * size / frame_pixels)):
                tracked, gone = np.where(lost > 0.5, np.nan, values), np.where(lost > 0, values, np.nan)
                axes.plot(frame, tracked, color=colour, linewidth=1.3, solid_capstyle="round", clip_on=False)
                axes.plot(frame, gone, color=colour, linewidth=0.9, dashes=(2, 2), clip_on=False)
        score.set(ylim=(-0.02, 1.05), yticks=[0, 0.5, 1], yticklabels=["0", ".5", "1"])
        top = max((100 * curve.area.max() / frame_pixels for curve in curves), default=0.0) or 1.0
        area.set(ylim=(0, 1.12 * top), yticks=[0, top], yticklabels=["0", f"{top:.2g}%"])
        last = max(end_frame - 1, first_frame + 1)
        area.set(xlim=(first_frame, last), xticks=[first_frame, last])
        for label, side in zip(area.get_xticklabels(), ("left", "right"), strict=True):
            label.set_horizontalalignment(side)
        for axes, title in ((score, "score"), (area, "area, share of the frame")):
            axes.set_title(title, loc="left", fontsize=7, color=_INK, pad=2.5)
        figure.patch.set_visible(False)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _inline(buffer.getvalue())


def _broken(curve: Curve) -> tuple[NDArray[np.float64], ...]:
    """The curve with a gap where frames without rows lie between two points, and not a line across."""
    steps = np.diff(curve.frame)
    gaps = np.flatnonzero(steps > 3 * np.median(steps)) + 1 if len(steps) else np.empty(0, np.int64)
    columns = (curve.frame, curve.score_low, curve.score, curve.area, curve.lost)
    return tuple(np.insert(values, gaps, np.nan) for values in columns)


def _inline(svg: str) -> str:
    """The `<svg>` element alone, small, in the page's colours and font."""
    svg = svg[svg.index("<svg") :]
    for stand_in, variable in _VARIABLES.items():
        svg = svg.replace(stand_in, variable)
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)  # its style is for all pages
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r"font-family: [^;\"]*", "font-family: inherit", svg)
    svg = re.sub(r"\d+\.\d{2,}", lambda number: f"{float(number[0]):.1f}", svg)
    box = re.search(r'viewBox="[^"]*"', svg)
    svg = re.sub(r"<svg [^>]*>", f'<svg {box[0] if box else ""} aria-hidden="true" focusable="false">', svg, count=1)
    return re.sub(r"\s+", " ", re.sub(r">\s+<", "><", svg))
