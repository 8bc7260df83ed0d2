"""The options of an export: the fields are those of `jobs/export.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from typer import Option

from pipeline.errors import UsageError
from pipeline.reading.options import ClipSelection

Format = Literal["coco", "cvat", "davis", "label-studio", "mot", "mots", "vot", "yolo-box", "yolo-seg", "youtube-vis"]
Region = Literal["polygon", "rectangle", "mask"]
Split = Literal["train", "val"]

PICTURES: dict[Format, str] = {
    "coco": "images/{split}/{clip_id}/{frame:05d}.jpg",
    "davis": "JPEGImages/{clip_id}/{frame:05d}.jpg",
    "mot": "{clip_id}/img1/{number:06d}.jpg",
    "mots": "{clip_id}/img1/{number:06d}.jpg",
    "vot": "sequences/{clip_id}/color/{number:08d}.jpg",
    "yolo-box": "images/{split}/{clip_id}_{frame:06d}.jpg",
    "yolo-seg": "images/{split}/{clip_id}_{frame:06d}.jpg",
    "youtube-vis": "JPEGImages/{clip_id}/{frame:05d}.jpg",
}
"""Where `--images` puts a frame, by its index in the source video or by its number in the clip, from 1."""

OF_SINGLE_FRAMES: tuple[Format, ...] = ("coco", "yolo-box", "yolo-seg")
"""Formats for training in which a frame stands for itself: with splits, and without frames that have no object."""


WITH_POLYGONS: tuple[Format, ...] = ("coco", "cvat")
"""Formats that have polygons on demand."""


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What `jobs/export.py` was asked to do.

    Raises:
        UsageError: a value is out of its range; the message names the option.
    """

    run: Annotated[str, Option(help="The --output of jobs/segment.py.", metavar="URI")]
    output: Annotated[str, Option(help="Folder for the export, without files yet.", metavar="URI")]
    format: Annotated[
        Format,
        Option(help="coco, cvat, davis, label-studio, mot, mots, vot, yolo-box, yolo-seg or youtube-vis."),
    ]
    selection: ClipSelection = ClipSelection()
    category: Annotated[
        str, Option(help="Category of objects without one, for coco, cvat, label-studio, yolo and youtube-vis.")
    ] = "object"
    mots_class: Annotated[int, Option(help="Class of all objects, for mots: 1 car, 2 pedestrian.")] = 2
    region: Annotated[Region, Option(help="For vot: polygon (rotated box), rectangle or mask.")] = "polygon"
    polygons: Annotated[
        bool, Option("--polygons", help="For coco, outlines instead of RLE; for cvat, instead of boxes.")
    ] = False
    images: Annotated[
        bool, Option("--images", help="Write the frames as JPEG too, where the format has its pictures.")
    ] = False
    all_frames: Annotated[
        bool, Option("--all-frames", help="With --images, for coco and yolo: frames without objects too.")
    ] = False
    val: Annotated[
        float, Option(help="Fraction of the clips that go into the split val, for coco and yolo.")
    ] = 0.0
    videos: Annotated[
        str | None, Option(help="Folder of relative video_uris [the manifest's own].", metavar="URI")
    ] = None
    include_lost: Annotated[
        bool, Option("--include-lost", help="Take rows of the state lost too, where the object is probably not.")
    ] = False
    strict: Annotated[bool, Option("--strict", help="Exit with 3 when a clip does not fit.")] = False

    def __post_init__(self) -> None:
        for name, value, allowed in (("format", self.format, Format), ("region", self.region, Region)):
            if value not in get_args(allowed):
                raise UsageError(f"--{name} {value}: expected one of {', '.join(get_args(allowed))}")
        if self.mots_class not in (1, 2):
            raise UsageError(f"--mots-class {self.mots_class}: expected 1 (car) or 2 (pedestrian)")
        if self.images and self.format not in PICTURES:
            raise UsageError(f"--images: {self.format} has no pictures; expected one of {', '.join(PICTURES)}")
        if not 0 <= self.val < 1:
            raise UsageError(f"--val {self.val}: expected a fraction from 0 to below 1")
        for option, given, formats in (
            ("all-frames", self.all_frames, OF_SINGLE_FRAMES),
            ("val", self.val, OF_SINGLE_FRAMES),
            ("polygons", self.polygons, WITH_POLYGONS),
        ):
            if given and self.format not in formats:
                raise UsageError(f"--{option}: only for the formats {', '.join(formats)}")
        if self.all_frames and not self.images:
            raise UsageError("--all-frames: only with --images")
