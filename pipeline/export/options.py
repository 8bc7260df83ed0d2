"""The options of an export: the fields are those of `jobs/export.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from typer import Option

from pipeline.errors import UsageError
from pipeline.reading.options import ClipSelection

Format = Literal["coco", "cvat", "davis", "mot", "mots", "vot", "yolo-box", "yolo-seg", "youtube-vis"]
Region = Literal["polygon", "rectangle", "mask"]


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What `jobs/export.py` was asked to do.

    Raises:
        UsageError: a value is out of its range; the message names the option.
    """

    run: Annotated[str, Option(help="The --output of jobs/segment.py.", metavar="URI")]
    output: Annotated[str, Option(help="Folder for the export, without files yet.", metavar="URI")]
    format: Annotated[
        Format, Option(help="coco, cvat, davis, mot, mots, vot, yolo-box, yolo-seg or youtube-vis.")
    ]
    selection: ClipSelection = ClipSelection()
    category: Annotated[
        str, Option(help="Category of objects without one, for coco, cvat, yolo and youtube-vis.")
    ] = "object"
    mots_class: Annotated[int, Option(help="Class of all objects, for mots: 1 car, 2 pedestrian.")] = 2
    region: Annotated[Region, Option(help="For vot: polygon (rotated box), rectangle or mask.")] = "polygon"
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
