"""COCO JSON: a frame an image, an object in a frame an annotation."""

from __future__ import annotations

from typing import Any

from pycocotools import mask as coco

from pipeline.export.export_clip import ExportClip
from pipeline.export.formats.categories import Categories
from pipeline.export.formats.outlines import outlines
from pipeline.export.options import ExportOptions, Split
from pipeline.export.sink import JsonArrays, Sink


class CocoJson:
    """`annotations.json`: images, annotations and categories.

    With pictures or a split val it is `annotations/instances_<split>.json`, as the data set of this name has it; names
    of files are seen from `images/<split>`.

    An annotation has the mask as compressed RLE, or its outlines with `options.polygons`, the mask's own box, and
    beyond COCO `score`, `object_id` and `track_id`, which is the same number for one object in all frames. A row
    without mask pixels has no annotation.

    Args:
        sink: where the files go.
        options: the category of objects without one, and what else there is beside the labels.
    """

    def __init__(self, sink: Sink, options: ExportOptions) -> None:
        self._categories = Categories(options.category)
        self._as_polygons = options.polygons
        fixed = {
            "info": {"description": "siammask-batch"},
            "licenses": [],
            "categories": self._categories.listed,
        }
        splits: list[Split] = ["train", "val"] if options.val else ["train"]
        name = "annotations/instances_{}.json" if options.images or options.val else "annotations.json"
        self._documents = {
            split: JsonArrays(sink, name.format(split), fixed, ["images", "annotations"]) for split in splits
        }
        self._images = self._annotations = self._tracks = 0

    def add(self, clip: ExportClip) -> None:
        """Appends a clip's images and annotations."""
        document = self._documents[clip.split]
        height, width = clip.size
        track_of = {object_id: self._tracks + number for number, object_id in enumerate(clip.object_ids, 1)}
        self._tracks += len(track_of)
        for frame in clip.frames:
            self._images += 1
            image = {
                "id": self._images,
                "file_name": f"{clip.clip_id}/{frame:05d}.jpg",
                "width": width,
                "height": height,
                "clip_id": clip.clip_id,
                "frame_index": frame,
            }
            document.add("images", image)
            for row in clip.rows_of(frame):
                if row["area"]:
                    self._annotations += 1
                    annotation = {
                        "id": self._annotations,
                        "image_id": self._images,
                        "category_id": self._categories.number(row["category"]),
                        "segmentation": _polygons(row["mask"]) if self._as_polygons else row["mask"],
                        "area": row["area"],
                        "bbox": coco.toBbox(row["mask"]).tolist(),
                        "iscrowd": 0,
                        "score": row["score"],
                        "object_id": row["object_id"],
                        "track_id": track_of[row["object_id"]],
                    }
                    document.add("annotations", annotation)

    def close(self) -> None:
        """Writes the files."""
        for document in self._documents.values():
            document.close()


def _polygons(rle: dict[str, Any]) -> list[list[float]]:
    return [outline.ravel().tolist() for outline in outlines(rle)]
