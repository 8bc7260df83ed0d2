"""Supervisely's video annotations: `frames` with figures of `objects`, one file a video (`clip.mp4.json`).

Format: https://docs.supervisely.com/data-organization/00_ann_format_navi/08_supervisely_format_videos. Frames count
from 0. Rectangles, polygons and bitmaps give the box around them.
"""

from __future__ import annotations

import base64
import io
import zlib
from typing import Any

from PIL import Image, UnidentifiedImageError

from pipeline.manifest_builder.label_files import LabelFile
from pipeline.manifest_builder.labelled_video import LabelError, LabelledBox, LabelledVideo, number, sized, whole
from pipeline.manifest_builder.tracks import Tracks, around


def is_supervisely(file: LabelFile) -> bool:
    """Whether it has frames with figures, and the objects that these are of."""
    document = file.document
    return isinstance(document, dict) and all(isinstance(document.get(key), list) for key in ("frames", "objects"))


def read_supervisely(file: LabelFile, notes: list[str]) -> list[LabelledVideo]:
    """Read the figures of one video. Raises LabelError, which names the place in the document."""
    document = file.document
    labels = {}
    for position, item in enumerate(document["objects"]):
        key = item.get("key", item.get("id")) if isinstance(item, dict) else None
        labels[key] = (str(item.get("id", position)), str(item.get("classTitle", "object")))
    tracks = Tracks(file.shown)
    others = 0
    for position, frame in enumerate(document["frames"]):
        place = f"{file.shown}: frames[{position}]"
        index = whole(frame.get("index") if isinstance(frame, dict) else None, place, "index")
        for i, figure in enumerate(frame.get("figures") or []):
            where = f"{place}.figures[{i}]"
            key = figure.get("objectKey", figure.get("objectId")) if isinstance(figure, dict) else None
            if key not in labels:
                raise LabelError(f"{where}: expected the objectKey of one of the objects, got {key!r}")
            bounds = _bounds(figure, where)
            if bounds is None:
                others += 1
                continue
            track, label = labels[key]
            drawn = (
                figure.get("meta", {}).get("autoTracked") is not True if isinstance(figure.get("meta"), dict) else True
            )
            tracks.add(track, label, sized(LabelledBox(index, *bounds, drawn=drawn), where), where)
    if others:
        notes.append(f"{file.shown}: {others} figures without a box passed over")
    count = document.get("framesCount")
    frames = whole(count, file.shown, "framesCount") if count else None
    return [LabelledVideo((file.stem, file.folder or file.stem), file.shown, tracks.objects(notes), frames=frames)]


def _bounds(figure: dict[str, Any], where: str) -> tuple[float, float, float, float] | None:
    """The box of a figure in pixels, or None where it has none."""
    geometry, kind = figure.get("geometry"), figure.get("geometryType")
    if not isinstance(geometry, dict):
        raise LabelError(f"{where}.geometry: expected the figure's geometry, got {geometry!r}")
    try:
        if kind in ("rectangle", "polygon"):
            return around([(float(x), float(y)) for x, y in geometry["points"]["exterior"]])
        if kind == "bitmap":
            bitmap = geometry["bitmap"]
            x, y = (number(value, where, "bitmap.origin") for value in bitmap["origin"])
            with Image.open(io.BytesIO(zlib.decompress(base64.b64decode(bitmap["data"])))) as picture:
                return x, y, float(picture.width), float(picture.height)
    except (KeyError, TypeError, ValueError, zlib.error, UnidentifiedImageError) as error:
        raise LabelError(f"{where}.geometry: expected a {kind}: {error!r}") from None
    return None
