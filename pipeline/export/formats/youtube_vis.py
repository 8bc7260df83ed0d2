"""YouTube-VIS JSON: a clip a video, an object an annotation with a segmentation a frame."""

from __future__ import annotations

import json

from pycocotools import mask as coco

from model.masks.rle import rle_runs
from pipeline.export.export_clip import ExportClip
from pipeline.export.formats.categories import Categories
from pipeline.export.sink import JsonArrays, Sink


class YouTubeVis:
    """`annotations.json`, as the data set has its labels, and `results.json`, as its server takes predictions.

    Labels have uncompressed RLE, predictions compressed RLE; a frame without a mask is null in both. `score` is the
    mean over the object's rows.

    Args:
        sink: where the files go.
        category: of objects without one.
    """

    def __init__(self, sink: Sink, category: str) -> None:
        self._categories = Categories(category)
        fixed = {
            "info": {"description": "siammask-batch"},
            "licenses": [],
            "categories": self._categories.listed,
        }
        self._labels = JsonArrays(sink, "annotations.json", fixed, ["videos", "annotations"])
        self._results = JsonArrays(sink, "results.json", {}, [""])
        self._videos = self._annotations = 0

    def add(self, clip: ExportClip) -> None:
        """Appends a clip: one video, and an annotation and a result an object."""
        self._videos += 1
        height, width = clip.size
        shape = {"width": width, "height": height, "length": len(clip.frames)}
        video = {
            "id": self._videos,
            "file_names": [f"{clip.clip_id}/{frame:05d}.jpg" for frame in clip.frames],
            **shape,
            "clip_id": clip.clip_id,
        }
        self._labels.add("videos", video)
        for object_id in clip.object_ids:
            rows = clip.rows_of_object(object_id)
            shown = [rows[frame] if frame in rows and rows[frame]["area"] else None for frame in clip.frames]
            masks = [row["mask"] if row else None for row in shown]
            self._annotations += 1
            annotation = {
                "id": self._annotations,
                "video_id": self._videos,
                "category_id": self._categories.number(clip.categories.get(object_id)),
                **shape,
                "iscrowd": 0,
                "areas": [row["area"] if row else None for row in shown],
                "bboxes": [coco.toBbox(mask).tolist() if mask else None for mask in masks],
                "object_id": object_id,
                "score": sum(row["score"] for row in rows.values()) / len(rows),
            }
            runs = ",".join(_uncompressed(mask) if mask else "null" for mask in masks)
            self._labels.add("annotations", json.dumps(annotation)[:-1] + f', "segmentations": [{runs}]}}')
            result = {name: annotation[name] for name in ("video_id", "category_id", "score")}
            self._results.add("", {**result, "segmentations": masks})

    def close(self) -> None:
        """Writes both files."""
        self._labels.close()
        self._results.close()


def _uncompressed(mask: dict) -> str:
    """The JSON text of a mask with its run lengths as a list."""
    return json.dumps({"size": mask["size"], "counts": rle_runs(mask).tolist()})
