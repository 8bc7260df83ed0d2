"""ImageNet-VID: pictures under Data/VID, one XML file a frame under Annotations/VID, boxes alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from model.training.convert.files import ConvertError, Progress, image_files, image_size, relative, require
from model.training.data.tables import TableWriter


def convert_imagenet_vid(root: Path, out: Path, *, split: str = "train", progress: Progress) -> int:
    """Write the tables of one split of ImageNet-VID; returns the number of videos.

    Args:
        root: folder with Data/VID/<split> and Annotations/VID/<split>.
        out: folder of the tables.
        split: train or val.
        progress: told of every video.

    Raises:
        ConvertError: a file is missing or not as described; names it.
    """
    labels = require(root / "Annotations" / "VID" / split, "folder of annotations")
    videos = sorted({path.parent for path in labels.rglob("*.xml")})
    if not videos:
        raise ConvertError(f"{labels}: has no .xml files in or below it")
    with TableWriter(out) as tables:
        for number, folder in enumerate(videos):
            place = folder.relative_to(labels)
            pictures = image_files(root / "Data" / "VID" / split / place)
            width, height = image_size(pictures[0])
            name = "-".join(place.parts)
            for index, picture in enumerate(pictures):
                path = folder / f"{picture.stem}.xml"
                rows = _objects(path) if path.exists() else ()
                tables.masks({"sequence": name, "split": split, "frame_index": index, **row} for row in rows)
            tables.sequence(
                sequence=name, split=split, images=[relative(picture, out) for picture in pictures],
                frames=len(pictures), width=width, height=height,
            )  # fmt: skip
            progress(number + 1, len(videos))
    return len(videos)


def _objects(path: Path) -> list[dict[str, Any]]:
    """`object_id`, `category` and `box` of the objects of one frame."""
    try:
        top = ElementTree.parse(path).getroot()
        objects = []
        for element in top.iter("object"):
            left, right, upper, lower = (float(element.findtext(f"bndbox/{side}", "")) for side in _SIDES)
            box = {"x": left, "y": upper, "w": right - left, "h": lower - upper}
            objects.append(
                {"object_id": element.findtext("trackid", "0"), "category": element.findtext("name"), "box": box}
            )
        return objects
    except (ElementTree.ParseError, ValueError) as error:
        raise ConvertError(f"{path}: is no annotation of a frame ({error})") from error


_SIDES = ("xmin", "xmax", "ymin", "ymax")
