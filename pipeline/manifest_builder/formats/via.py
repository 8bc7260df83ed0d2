"""VGG Image Annotator 3: regions of a video at times in seconds.

Format: https://gitlab.com/vgg/via/-/blob/master/via-3.x.y/CodeDoc.md: `metadata` has z, the times, xy, a shape (2 is
a rectangle, x, y, w, h; 7 a polygon), and av, the values of attributes. An attribute called id or track names the
object; without one, regions are detections.
"""

from __future__ import annotations

from typing import Any

from pipeline.manifest_builder.label_files import LabelFile
from pipeline.manifest_builder.labelled_video import LabelError, LabelledBox, LabelledVideo, number, sized
from pipeline.manifest_builder.tracks import Tracks, around

_RECTANGLE, _POLYGON = 2, 7
_IDS = frozenset(("id", "track", "track_id", "object_id"))


def is_via(file: LabelFile) -> bool:
    """Whether it is a project of VIA 3."""
    document = file.document
    return isinstance(document, dict) and {"project", "metadata", "view", "file"} <= document.keys()


def read_via(file: LabelFile, notes: list[str]) -> list[LabelledVideo]:
    """Read the regions, one video a file. Raises LabelError, which names the place in the document."""
    document = file.document
    attributes = {key: str(value.get("aname", "")).lower() for key, value in (document.get("attribute") or {}).items()}
    files = {}
    for view, value in document["view"].items():
        members = value.get("fid_list") or [] if isinstance(value, dict) else []
        if len(members) == 1 and members[0] in document["file"]:
            files[view] = str(document["file"][members[0]].get("fname", ""))
    tracks: dict[str, Tracks] = {}
    others = 0
    for key, item in document["metadata"].items():
        where = f"{file.shown}: metadata.{key}"
        if not isinstance(item, dict) or item.get("vid") not in files:
            raise LabelError(f"{where}: expected a region of one of the views")
        video = files[item["vid"]]
        known = tracks.setdefault(video, Tracks(f"{file.shown} ({video})"))
        bounds = _bounds(item, where)
        times = item.get("z") or []
        if bounds is None or len(times) != 1:
            others += 1
            continue
        values = {attributes.get(name, name): str(value) for name, value in (item.get("av") or {}).items()}
        track = next((value for name, value in values.items() if name in _IDS), None)
        label = next((value for name, value in values.items() if name not in _IDS and value), None)
        milliseconds = round(1000 * number(times[0], where, "z"))
        known.add(track, label, sized(LabelledBox(milliseconds, *bounds), where), where)
    if others:
        notes.append(f"{file.shown}: {others} regions that are no boxes at one time passed over")
    return [
        LabelledVideo((video,), known.where, known.objects(notes), clock="milliseconds")
        for video, known in tracks.items()
    ]


def _bounds(item: dict[str, Any], where: str) -> tuple[float, float, float, float] | None:
    shape = item.get("xy") or []
    values = [number(value, where, "xy") for value in shape[1:]]
    if shape and shape[0] == _RECTANGLE and len(values) == 4:
        return values[0], values[1], values[2], values[3]
    if shape and shape[0] == _POLYGON and len(values) >= 6:
        return around(list(zip(values[::2], values[1::2], strict=False)))
    return None
