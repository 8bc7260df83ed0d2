"""COCO with one annotation an image: CVAT's COCO 1.0, CocoVID, TAO, and results of detectors and trackers.

Formats: https://cocodataset.org/#format-data and #format-results; https://mmtracking.readthedocs.io (CocoVID);
https://github.com/TAO-Dataset/tao (frame_index, track_id); CVAT writes attributes.track_id and images
frame_000012.PNG. The frame is the image's frame_id or frame_index, else the number in its file's name where that is
CVAT's, else its place among the images of its folder: all count from 0. Of results without images it is the image_id.
"""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from pipeline.manifest_builder.formats.coco_video import around_segmentation
from pipeline.manifest_builder.label_files import LabelFile
from pipeline.manifest_builder.labelled_video import LabelError, LabelledBox, LabelledVideo, number, sized, whole
from pipeline.manifest_builder.tracks import Tracks, number_in

_FRAME_KEYS = ("frame_id", "frame_index", "frame_number")
_TRACK_KEYS = ("track_id", "instance_id", "object_id")
_CVAT_FRAME = re.compile(r"frame_(\d{6,})")


@dataclass(slots=True)
class _Images:
    """Where the images of a document belong: image id -> video and frame."""

    names: dict[Any, tuple[str, ...]] = field(default_factory=dict)
    video: dict[Any, Any] = field(default_factory=dict)
    frame: dict[Any, int] = field(default_factory=dict)
    pictures: dict[Any, dict[int, str]] = field(default_factory=lambda: defaultdict(dict))


def is_coco_images(file: LabelFile) -> bool:
    """Whether it has annotations of images, in a document or as a list of results."""
    document = file.document
    if isinstance(document, dict):
        return isinstance(document.get("images"), list) and isinstance(document.get("annotations"), list)
    return _is_results(document)


def read_coco_images(file: LabelFile, notes: list[str]) -> list[LabelledVideo]:
    """Read the annotations, one video a folder of images or entry of `videos`.

    Raises:
        LabelError: a value cannot be used; names its place in the document.
    """
    document = file.document
    annotations = document if isinstance(document, list) else document["annotations"]
    images = _results_images(document, file) if isinstance(document, list) else _images(document, file)
    categories = (document.get("categories") if isinstance(document, dict) else None) or []
    labels = {item.get("id"): str(item.get("name")) for item in categories if isinstance(item, dict)}
    tracks: dict[Any, Tracks] = {}
    empty = 0
    for position, item in enumerate(annotations):
        where = (
            f"{file.shown}: annotations[{position}]" if isinstance(document, dict) else f"{file.shown}: [{position}]"
        )
        if not isinstance(item, dict) or item.get("image_id") not in images.frame:
            raise LabelError(f"{where}: expected an annotation whose image_id is among the images")
        video = images.video[item["image_id"]]
        attributes = item["attributes"] if isinstance(item.get("attributes"), dict) else {}
        track = next((v for at in (item, attributes) for k in _TRACK_KEYS if (v := at.get(k)) is not None), None)
        values = item.get("bbox") or (
            around_segmentation(item["segmentation"], where) if item.get("segmentation") else 0
        )
        if not isinstance(values, list) or len(values) != 4:
            raise LabelError(f"{where}.bbox: expected x, y, w, h, got {values!r}")
        x, y, w, h = (number(value, f"{where}.bbox", "xywh"[i]) for i, value in enumerate(values))
        if (w, h) == (0, 0):
            empty += 1
            continue
        box = LabelledBox(
            images.frame[item["image_id"]], x, y, w, h, drawn=attributes.get("keyframe", True) is not False
        )
        label = labels.get(item.get("category_id"))
        tracks.setdefault(video, Tracks(f"{file.shown} ({images.names[video][0]})")).add(
            None if track is None else str(track), label, sized(box, where), where
        )
    if empty:
        notes.append(f"{file.shown}: {empty} annotations without a box passed over")
    return [
        LabelledVideo(images.names[video], known.where, known.objects(notes), pictures=images.pictures[video])
        for video, known in tracks.items()
    ]


def _is_results(document: Any) -> bool:
    return (
        isinstance(document, list)
        and bool(document)
        and all(
            isinstance(item, dict) and "image_id" in item and {"bbox", "segmentation"} & item.keys()
            for item in document
        )
    )


def _results_images(document: list[Any], file: LabelFile) -> _Images:
    images = _Images(names={None: (file.sequence,)})
    for position, item in enumerate(document):
        image = item["image_id"]
        frame = number_in(str(image))
        if frame is None:
            raise LabelError(f"{file.shown}: [{position}].image_id: expected a number, the frame, got {image!r}")
        images.video[image], images.frame[image] = None, frame
    return images


def _images(document: dict[str, Any], file: LabelFile) -> _Images:
    images = _Images()
    videos = {
        item["id"]: str(item.get("file_name") or item.get("name") or item["id"])
        for item in document.get("videos") or []
        if isinstance(item, dict) and "id" in item
    }
    members: dict[Any, list[tuple[int, dict[str, Any]]]] = defaultdict(list)
    for position, image in enumerate(document["images"]):
        if not isinstance(image, dict) or "id" not in image:
            raise LabelError(f"{file.shown}: images[{position}]: expected an image with an id")
        path = str(image.get("file_name", ""))
        folder = posixpath.dirname(path)
        video = image.get("video_id", folder)
        if video in videos:
            images.names[video] = (videos[video], posixpath.basename(videos[video]))
        else:
            images.names[video] = tuple(
                dict.fromkeys(n for n in (folder, posixpath.basename(folder), file.sequence) if n)
            )
        images.video[image["id"]] = video
        members[video].append((position, image))
    for video, group in members.items():
        frames = _frames([image for _, image in group], file, [position for position, _ in group])
        for (_, image), frame in zip(group, frames, strict=True):
            images.frame[image["id"]] = frame
            if image.get("file_name"):
                images.pictures[video][frame] = posixpath.splitext(posixpath.basename(str(image["file_name"])))[0]
    return images


def _frames(group: list[dict[str, Any]], file: LabelFile, positions: list[int]) -> list[int]:
    """The frames of the images of one video."""
    for key in _FRAME_KEYS:
        if all(image.get(key) is not None for image in group):
            return [
                whole(image[key], f"{file.shown}: images[{position}]", key)
                for image, position in zip(group, positions, strict=True)
            ]
    stems = [posixpath.splitext(posixpath.basename(str(image.get("file_name", ""))))[0] for image in group]
    numbers = [number_in(stem) for stem in stems]
    if all(_CVAT_FRAME.fullmatch(stem) for stem in stems):
        return [value or 0 for value in numbers]
    known = sorted(value for value in numbers if value is not None)
    if len(known) == len(group) and known and known != list(range(known[0], known[0] + len(known))):
        return [value or 0 for value in numbers]  # not all frames have an image, so their places say nothing
    order = sorted(range(len(group)), key=lambda i: (numbers[i] is None, numbers[i] or 0, stems[i], i))
    frames = [0] * len(group)
    for frame, i in enumerate(order):
        frames[i] = frame
    return frames
