"""Draw masks, rotated boxes, ids and scores on a frame, in colours that colour-blind people can tell apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from pycocotools import mask as coco

# RGB. Okabe and Ito's palette without black, the best contrasts first, then colours that were added one by one: each
# the one farthest from all before it in the eyes of those who see three colours and of those who see two. No two are
# closer than 16 in CIELAB to any of them (the first seven are as close as that).
PALETTE: tuple[tuple[int, int, int], ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (213, 94, 0),
    (204, 121, 167),
    (0, 114, 178),
    (135, 0, 240),
    (210, 255, 210),
    (90, 255, 135),
    (120, 90, 45),
    (150, 120, 255),
    (150, 165, 90),
    (255, 180, 210),
    (150, 210, 150),
    (165, 60, 120),
)
_DARK = (24, 24, 24)
_LIGHT = (255, 255, 255)


@dataclass(frozen=True, slots=True)
class OverlayStyle:
    """What to draw.

    Attributes:
        opacity: weight of the colour inside a mask; 0 leaves masks unfilled.
        contour: whether to draw the outlines of masks.
        box: whether to draw rotated boxes.
        label: whether to write the object's id and score.
    """

    opacity: float = 0.45
    contour: bool = True
    box: bool = True
    label: bool = True


@dataclass(frozen=True, slots=True)
class TrackedObject:
    """One object in one frame: the columns of the `masks` table that are drawn.

    Attributes:
        object_id: its name.
        score: 0 to 1.
        mask: COCO RLE of the full frame, {"size": [h, w], "counts": str}.
        corners: the rotated box, x1, y1, ... x4, y4 in pixels.
        state: "lost" is drawn dashed and never filled; None of a table without that column.
    """

    object_id: str
    score: float
    mask: Mapping[str, object]
    corners: Sequence[float]
    state: str | None = None


def colour_of(position: int) -> tuple[int, int, int]:
    """RGB of the clip's n-th object; colours repeat after sixteen objects, which their labels still tell apart."""
    return PALETTE[position % len(PALETTE)]


def draw_objects(
    frame: np.ndarray,
    objects: Sequence[TrackedObject],
    colours: Mapping[str, tuple[int, int, int]],
    style: OverlayStyle | None = None,
) -> np.ndarray:
    """The frame with its objects drawn on it.

    Args:
        frame: uint8 [H, W, 3], RGB; left as it is.
        objects: what is drawn; later ones over earlier ones, labels over all.
        colours: RGB by object id.
        style: what to draw, everything by default.

    Returns:
        uint8 [H, W, 3], RGB.

    Raises:
        ValueError: a mask is not of the frame's size.
    """
    style = style or OverlayStyle()
    canvas = np.array(frame, order="C")
    thickness = max(1, round(min(canvas.shape[:2]) / 300))
    for item in objects:
        _draw_mask(canvas, item, colours[item.object_id], style, thickness)
    if style.box:
        for item in objects:
            outline = np.asarray(item.corners, np.float64).reshape(4, 2)
            for colour, width in ((_DARK, thickness + 2), (colours[item.object_id], thickness)):
                _draw_outline(canvas, outline, colour, width, dash=_dash(item, thickness))
    if style.label:
        for item in objects:
            _draw_label(canvas, item, colours[item.object_id])
    return canvas


def _draw_mask(
    canvas: np.ndarray, item: TrackedObject, colour: tuple[int, int, int], style: OverlayStyle, thickness: int
) -> None:
    height, width = canvas.shape[:2]
    if list(item.mask["size"]) != [height, width]:  # type: ignore[call-overload]
        raise ValueError(
            f"object {item.object_id}: its mask is of a frame of {item.mask['size']} (height, width), "
            f"this frame is {[height, width]}; it is another video than the one that was tracked"
        )
    mask = coco.decode(dict(item.mask)).astype(bool)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return
    window = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    inside = mask[window]
    if style.opacity and item.state != "lost":
        mixed = canvas[window][inside] * (1 - style.opacity) + np.array(colour) * style.opacity
        canvas[window][inside] = np.rint(mixed).astype(np.uint8)
    if style.contour or (item.state == "lost" and style.opacity):
        outlines, _ = cv2.findContours(inside.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        if item.state == "lost":
            for outline in outlines:
                points = outline[:, 0] + (columns[0], rows[0])
                _draw_outline(canvas, points, colour, thickness, dash=_dash(item, thickness))
        else:
            offset = (int(columns[0]), int(rows[0]))
            cv2.drawContours(canvas, outlines, -1, colour, thickness, cv2.LINE_AA, offset=offset)


def _dash(item: TrackedObject, thickness: int) -> float:
    return 6.0 * thickness if item.state == "lost" else 0.0


def _draw_outline(
    canvas: np.ndarray, points: np.ndarray, colour: tuple[int, int, int], width: int, *, dash: float
) -> None:
    """Draw a closed line through points [N, 2]; in dashes of so many pixels, with gaps as long, where that is not 0."""
    closed = np.concatenate([points, points[:1]]).astype(np.float64)
    if not dash:
        pieces = [closed[:-1]]
    else:
        along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
        starts = np.arange(0.0, along[-1], 2 * dash)
        places = starts[:, None] + np.linspace(0, dash, 5)
        x, y = (np.interp(places, along, closed[:, axis]) for axis in (0, 1))
        pieces = list(np.stack([x, y], axis=-1))
    fixed_point = [np.rint(piece * 16).astype(np.int32) for piece in pieces]
    cv2.polylines(canvas, fixed_point, not dash, colour, width, cv2.LINE_AA, shift=4)


def _draw_label(canvas: np.ndarray, item: TrackedObject, colour: tuple[int, int, int]) -> None:
    """The id and score on a plate of the object's colour above its topmost corner, moved inside where it sticks out."""
    height, width = canvas.shape[:2]
    scale = max(0.4, min(height, width) / 720)
    text = f"{item.object_id} {item.score:.2f}"
    (text_width, text_height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    plate_width, plate_height = text_width + 8, text_height + below + 6
    x, y = np.asarray(item.corners, np.float64).reshape(4, 2)[0]
    left = int(np.clip(x - plate_width / 2, 0, max(0, width - plate_width)))
    top = int(np.clip(y - plate_height - 4, 0, max(0, height - plate_height)))
    cv2.rectangle(canvas, (left, top), (left + plate_width - 1, top + plate_height - 1), colour, -1)
    ink = _DARK if np.dot(colour, (0.299, 0.587, 0.114)) > 120 else _LIGHT
    baseline = (left + 4, top + text_height + 3)
    cv2.putText(canvas, text, baseline, cv2.FONT_HERSHEY_SIMPLEX, scale, ink, 1, cv2.LINE_AA)
