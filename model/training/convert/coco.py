"""COCO: a folder of pictures and an instances_*.json."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

from pycocotools import mask as coco_mask

from model.training.convert.files import ConvertError, Progress, read_json, relative, require
from model.training.data.tables import TableWriter


def convert_coco(instances: Path, images: Path, out: Path, *, split: str = "train", progress: Progress) -> int:
    """Write the tables of an instances file; each picture is a sequence of one. Returns the number of pictures.

    Crowds are left out. An instance without a segmentation keeps its box.

    Args:
        instances: instances_*.json.
        images: folder of its pictures.
        out: folder of the tables.
        split: what the tables call it.
        progress: told of every picture.

    Raises:
        ConvertError: a file is missing or not as described; names it.
    """
    content = read_json(instances)
    if not isinstance(content, dict) or not {"images", "annotations"} <= set(content):
        raise ConvertError(f"{instances}: has no lists `images` and `annotations`")
    names = {entry["id"]: entry["name"] for entry in content.get("categories", ())}
    annotations: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for entry in content["annotations"]:
        if not entry.get("iscrowd"):
            annotations[entry["image_id"]].append(entry)
    pictures = [entry for entry in content["images"] if annotations.get(entry["id"])]
    with TableWriter(out) as tables:
        for number, picture in enumerate(pictures):
            path = require(images / picture["file_name"], "picture")
            if not picture.get("width") or not picture.get("height"):
                raise ConvertError(f"{instances}: picture {picture['file_name']} has no width and height")
            width, height = int(picture["width"]), int(picture["height"])
            name = str(Path(picture["file_name"]).with_suffix(""))
            for entry in annotations[picture["id"]]:
                row = {
                    "sequence": name,
                    "split": split,
                    "frame_index": 0,
                    "object_id": str(entry["id"]),
                    "category": names.get(entry.get("category_id")),
                }
                tables.masks([{**row, **_outline(entry, height, width, instances)}])
            tables.sequence(
                sequence=name, split=split, images=[relative(path, out)], frames=1, width=width, height=height
            )
            progress(number + 1, len(pictures))
    return len(pictures)


def _outline(annotation: dict[str, Any], height: int, width: int, instances: Path) -> dict[str, Any]:
    """`mask` and `area` of an annotation, or its `box`."""
    outline = annotation.get("segmentation")
    if not outline:
        if len(annotation.get("bbox") or ()) != 4:
            raise ConvertError(
                f"{instances}: annotation {annotation['id']} has no segmentation and no bbox of 4 numbers"
            )
        return {"box": dict(zip("xywh", map(float, annotation["bbox"]), strict=True)), "area": None}
    try:
        if isinstance(outline, list):
            rle = coco_mask.merge(coco_mask.frPyObjects(outline, height, width))
        elif isinstance(outline["counts"], list):
            rle = coco_mask.frPyObjects(outline, height, width)
        else:
            rle = {"size": outline["size"], "counts": outline["counts"].encode("ascii")}
        counts = rle["counts"].decode("ascii")
        size = [int(side) for side in rle["size"]]
        return {"mask": {"size": size, "counts": counts}, "area": int(coco_mask.area(rle))}
    except Exception as error:  # pycocotools raises bare ones
        raise ConvertError(
            f"{instances}: annotation {annotation['id']} has an unusable segmentation ({error!r})"
        ) from error
