"""What a picture of a clip shows: the overlay, the source beside it, or the masks alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from model.video.overlay import OverlayStyle, TrackedObject, draw_objects
from pipeline.reading.options import Layout

_ONLY_OUTLINES = OverlayStyle(opacity=0.0, contour=True, box=False, label=False)
_ONLY_MASKS = OverlayStyle(opacity=1.0, contour=False, box=False, label=False)


def lay_out(
    frame: np.ndarray,
    objects: Sequence[TrackedObject],
    colours: Mapping[str, tuple[int, int, int]],
    *,
    layout: Layout = "overlay",
    style: OverlayStyle | None = None,
    held: bool = False,
) -> np.ndarray:
    """The picture of one frame.

    Args:
        frame: uint8 [H, W, 3], RGB.
        objects: the frame's rows of `masks`.
        colours: RGB by object id.
        layout: `overlay`; `side-by-side`, the frame as it is on the left and the overlay on the right; `masks`, each
            object's pixels in its full colour on black, later ones over earlier ones.
        style: what the overlay draws, everything by default.
        held: the rows are of an earlier frame; they are outlined and never filled.

    Returns:
        uint8 [H, W, 3], RGB; twice as wide for `side-by-side`.

    Raises:
        ValueError: a mask is not of the frame's size.
    """
    chosen = _ONLY_MASKS if layout == "masks" else style or OverlayStyle()
    if held:
        chosen = replace(_ONLY_OUTLINES, contour=chosen.contour or layout == "masks")
    canvas = np.zeros_like(frame) if layout == "masks" else frame
    drawn = draw_objects(canvas, objects, colours, chosen)
    return np.concatenate([frame, drawn], axis=1) if layout == "side-by-side" else drawn
