"""COCO for video, as YouTube-VIS has it: `videos`, and `annotations` with one entry a frame of the video.

Format: https://competitions.codalab.org/competitions/20128 (YouTube-VIS). An annotation is one object of a video:
`bboxes[i]` is x, y, w, h on the video's i-th frame, or null; `segmentations[i]` an RLE or polygons, or null.
"""

from __future__ import annotations

import posixpath
from typing import Any

import numpy as np
from pycocotools import mask as coco

from pipeline.manifest_builder.label_files import LabelFile
from pipeline.manifest_builder.labelled_video import (
    LabelError,
    LabelledBox,
    LabelledObject,
    LabelledVideo,
    number,
    sized,
)

_HINT = "expected COCO for video as YouTube-VIS has it: annotations with video_id and bboxes or segmentations"


def is_coco_video(file: LabelFile) -> bool:
    """Whether it has videos, and annotations of whole videos."""
    document = file.document
    if not isinstance(document, dict) or not isinstance(document.get("videos"), list) or "images" in document:
        return False
    annotations = document.get("annotations")
    return isinstance(annotations, list) and all(
        isinstance(item, dict) and "image_id" not in item for item in annotations
    )


def read_coco_video(file: LabelFile, notes: list[str]) -> list[LabelledVideo]:
    """Read the videos and their annotations.

    Args:
        file: the JSON.
        notes: what was passed over is added here.

    Raises:
        LabelError: it is no such JSON, or a value in it cannot be used; names the place in the document.
    """
    document = file.document
    if not isinstance(document, dict) or not all(isinstance(document.get(k), list) for k in ("videos", "annotations")):
        raise LabelError(f"{file.shown}: {_HINT}, in a document with videos and annotations")
    labels = {item.get("id"): str(item.get("name")) for item in document.get("categories") or []}
    videos = {}
    objects: dict[Any, list[LabelledObject]] = {}
    for position, item in enumerate(document["videos"]):
        where = f"{file.shown}: videos[{position}]"
        if not isinstance(item, dict) or "id" not in item or item["id"] in videos:
            raise LabelError(f"{where}: expected a video with an id of its own")
        videos[item["id"]] = (_names(item, where), where)
        objects[item["id"]] = []
    for position, item in enumerate(document["annotations"]):
        where = f"{file.shown}: annotations[{position}]"
        if not isinstance(item, dict) or not ({"bboxes", "segmentations"} & item.keys()):
            raise LabelError(f"{where}: {_HINT}")
        if item.get("video_id") not in videos:
            raise LabelError(f"{where}: video_id {item.get('video_id')!r} is not among the videos")
        label = labels.get(item.get("category_id"))
        made = LabelledObject(f"{label or 'object'}-{item.get('id', position)}", _boxes(item, where), category=label)
        if made.boxes:
            objects[item["video_id"]].append(made)
        else:
            notes.append(f"{where}: object {made.object_id} has no box on any frame")
    return [
        LabelledVideo(names, f"{where} ({names[0]})", tuple(objects[key])) for key, (names, where) in videos.items()
    ]


def _boxes(item: dict[str, Any], where: str) -> list[LabelledBox]:
    name = "bboxes" if item.get("bboxes") else "segmentations"
    entries = item.get(name)
    if not isinstance(entries, list):
        raise LabelError(f"{where}.{name}: expected a list with one entry a frame, got {entries!r}")
    boxes = []
    for frame, entry in enumerate(entries):
        place = f"{where}.{name}[{frame}]"
        if not entry:
            continue
        values = entry if name == "bboxes" else around_segmentation(entry, place)
        if not isinstance(values, list) or len(values) != 4:
            raise LabelError(f"{place}: expected x, y, w, h or null, got {values!r}")
        x, y, w, h = (number(value, place, "xywh"[i]) for i, value in enumerate(values))
        if (w, h) != (0, 0):
            boxes.append(sized(LabelledBox(frame, x, y, w, h), place))
    return boxes


def around_segmentation(segmentation: Any, where: str) -> list[float]:
    """The box about a segmentation: a compressed or plain RLE, or polygons; zeros where it is empty."""
    try:
        if isinstance(segmentation, dict):
            height, width = segmentation["size"]
            plain = isinstance(segmentation["counts"], list)
            encoded = coco.frPyObjects(segmentation, height, width) if plain else segmentation
            return coco.toBbox(encoded).tolist()
        points = np.concatenate([np.asarray(polygon, float).reshape(-1, 2) for polygon in segmentation])
    except (KeyError, TypeError, ValueError) as error:
        raise LabelError(f"{where}: expected an RLE or polygons: {error}") from None
    least = points.min(axis=0)
    return [*least.tolist(), *(points.max(axis=0) - least).tolist()]


def _names(video: dict[str, Any], where: str) -> tuple[str, ...]:
    """Its own name, or the folder that its frames are in."""
    names = [str(video[key]) for key in ("file_name", "name", "video_name") if video.get(key)]
    frames = video.get("file_names")
    if isinstance(frames, list) and frames and isinstance(frames[0], str):
        folder = posixpath.dirname(frames[0])
        names += [frames[0]] if len(frames) == 1 and not folder else [folder, posixpath.basename(folder)]
    names = [name for name in dict.fromkeys(names) if name]
    if not names:
        raise LabelError(f"{where}: expected file_names (frames in the video's folder), a file_name or a name")
    return tuple(names)
