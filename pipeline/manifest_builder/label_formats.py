"""The formats of labels that are read, and which of them a file is of, by its content."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pipeline.manifest_builder.formats.bdd import is_bdd, read_bdd
from pipeline.manifest_builder.formats.coco_images import is_coco_images, read_coco_images
from pipeline.manifest_builder.formats.coco_video import is_coco_video, read_coco_video
from pipeline.manifest_builder.formats.cvat import is_cvat, read_cvat
from pipeline.manifest_builder.formats.cvat_backup import is_cvat_backup, read_cvat_backup
from pipeline.manifest_builder.formats.kitti import is_kitti, read_kitti
from pipeline.manifest_builder.formats.label_studio import is_label_studio, read_label_studio
from pipeline.manifest_builder.formats.labelbox import is_labelbox, read_labelbox
from pipeline.manifest_builder.formats.labelme import is_labelme, read_labelme
from pipeline.manifest_builder.formats.masks import is_mask, read_masks
from pipeline.manifest_builder.formats.mot import is_mot, read_mot
from pipeline.manifest_builder.formats.supervisely import is_supervisely, read_supervisely
from pipeline.manifest_builder.formats.via import is_via, read_via
from pipeline.manifest_builder.formats.vot import is_vot, read_vot
from pipeline.manifest_builder.formats.yolo import is_yolo, read_yolo
from pipeline.manifest_builder.label_files import LabelFile
from pipeline.manifest_builder.labelled_video import LabelledVideo

FormatName = Literal[
    "auto", "cvat", "cvat-backup", "label-studio", "coco-video", "coco", "mot", "vot", "yolo", "kitti", "masks",
    "supervisely", "bdd", "labelme", "labelbox", "via",
]  # fmt: skip
Reader = Callable[[list[LabelFile], list[str]], list[LabelledVideo]]


@dataclass(frozen=True, slots=True)
class LabelFormat:
    """A format.

    Attributes:
        shown: what messages call it.
        suffixes: of the names of its files.
        recognises: whether a file is of it, by its content.
        read: reads all files of it; what was passed over is added to the notes.
    """

    shown: str
    suffixes: tuple[str, ...]
    recognises: Callable[[LabelFile], bool]
    read: Reader


def _each(read: Callable[[LabelFile, list[str]], list[LabelledVideo]]) -> Reader:
    """Reads a format whose files are each for themselves."""

    def read_all(files: list[LabelFile], notes: list[str]) -> list[LabelledVideo]:
        videos = []
        for file in files:
            videos += read(file, notes)
            file.forget()
        return videos

    return read_all


_XML, _JSON, _LINES, _TEXT = (".xml",), (".json",), (".json", ".ndjson", ".jsonl"), (".txt",)
# The first that recognises a file is taken: those that ask for more come first.
FORMATS: dict[str, LabelFormat] = {
    "cvat": LabelFormat("CVAT for video", _XML, is_cvat, _each(read_cvat)),
    "coco-video": LabelFormat("COCO for video (YouTube-VIS)", _JSON, is_coco_video, _each(read_coco_video)),
    "coco": LabelFormat("COCO of images", _JSON, is_coco_images, _each(read_coco_images)),
    "supervisely": LabelFormat("Supervisely", _JSON, is_supervisely, _each(read_supervisely)),
    "bdd": LabelFormat("BDD100K", _JSON, is_bdd, _each(read_bdd)),
    "labelme": LabelFormat("LabelMe", _JSON, is_labelme, read_labelme),
    "labelbox": LabelFormat("Labelbox", _LINES, is_labelbox, _each(read_labelbox)),
    "via": LabelFormat("VIA 3", _JSON, is_via, _each(read_via)),
    "cvat-backup": LabelFormat("backup of a CVAT task", _JSON, is_cvat_backup, _each(read_cvat_backup)),
    "label-studio": LabelFormat("Label Studio", _JSON, is_label_studio, _each(read_label_studio)),
    "kitti": LabelFormat("KITTI tracking", _TEXT, is_kitti, _each(read_kitti)),
    "yolo": LabelFormat("YOLO", _TEXT, is_yolo, read_yolo),
    "mot": LabelFormat("MOT", _TEXT, is_mot, _each(read_mot)),
    "vot": LabelFormat("VOT, OTB, GOT-10k, LaSOT", _TEXT, is_vot, read_vot),
    "masks": LabelFormat("masks of DAVIS, YouTube-VOS, MOSE", (".png",), is_mask, read_masks),
}


def recognise(file: LabelFile) -> str | None:
    """The name of the format that a file is of, None where it is of none.

    Raises:
        LabelError: it is JSON by its name and cannot be parsed; names the line.
    """
    for name, known in FORMATS.items():
        if file.suffix in known.suffixes and known.recognises(file):
            return name
    return None


def unknown(file: LabelFile) -> str:
    """Why a file cannot be read, in a sentence."""
    looks = f": it looks like {guess}" if (guess := _guess(file)) else ""
    read = ", ".join(known.shown for known in FORMATS.values())
    return f"{file.shown}: expected labels of a format that is read{looks}; read are {read}"


def _guess(file: LabelFile) -> str:
    """What a file is that is not read, where its content tells."""
    if file.suffix == ".xml":
        head = file.content[:4096]
        tag = next((part for part in head.split(b"<")[1:] if part[:1] not in (b"?", b"!")), b"").split(b">")[0]
        name = tag.split()[0].decode(errors="replace").rstrip("/") if tag.strip() else "no XML"
        return "Pascal VOC, which has single images" if name == "annotation" else f"XML of <{name}>"
    if file.suffix in _LINES:
        document = file.document
        if isinstance(document, dict):
            return f"JSON with {', '.join(map(repr, list(document)[:5]))}" if document else "an empty document"
        first = document[0] if isinstance(document, list) and document else document
        return f"a list of {', '.join(map(repr, list(first)[:5]))}" if isinstance(first, dict) else "JSON"
    if file.suffix == ".txt":
        line = next((line for line in file.lines if line.strip()), "")
        return f"text that begins {line[:40]!r}" if line else "an empty file"
    return ""
