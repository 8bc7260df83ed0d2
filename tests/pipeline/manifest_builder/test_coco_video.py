"""COCO for video, read from a small document whose truth is known; each fault is named by its place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco

from pipeline.manifest_builder.formats.coco_video import read_coco_video
from pipeline.manifest_builder.labelled_video import LabelError, LabelledBox
from tests.pipeline.manifest_builder.labels import changed, label_file

YTVIS: dict[str, Any] = {
    "videos": [
        {"id": 1, "width": 64, "height": 36, "length": 3, "file_names": ["harbour/00000.jpg", "harbour/00001.jpg"]},
        {"id": 2, "file_name": "videos/bay.mp4"},
    ],
    "categories": [{"id": 4, "name": "boat"}],
    "annotations": [
        {"id": 9, "video_id": 1, "category_id": 4, "bboxes": [None, [1.5, 2, 3, 4], [2, 2, 3, 4]]},
        {"id": 10, "video_id": 1, "category_id": 4, "bboxes": [[0, 0, 0, 0], None, [5, 6, 7, 8]]},
        {"id": 11, "video_id": 1, "category_id": 4, "bboxes": [None, None, None]},
        {"id": 12, "video_id": 2, "category_id": 99, "segmentations": [None, [[2, 3, 8, 3, 8, 9]]]},
    ],
}


def test_coco_video() -> None:
    notes: list[str] = []
    harbour, bay = read_coco_video(label_file(YTVIS), notes)
    assert "harbour" in harbour.names and bay.names == ("videos/bay.mp4",)
    assert [(one.object_id, one.boxes) for one in harbour.objects] == [
        ("boat-9", [LabelledBox(1, 1.5, 2, 3, 4), LabelledBox(2, 2, 2, 3, 4)]),
        ("boat-10", [LabelledBox(2, 5, 6, 7, 8)]),
    ]
    assert bay.objects[0].object_id == "object-12" and bay.objects[0].boxes == [LabelledBox(1, 2, 3, 6, 6)]
    assert notes == ["labels: annotations[2]: object boat-11 has no box on any frame"]


@pytest.mark.parametrize("plain", [True, False])
def test_coco_video_masks(plain: bool) -> None:
    mask = np.zeros((30, 50), np.uint8, order="F")
    mask[5:9, 20:41] = 1
    if plain:
        flat = np.flatnonzero(np.diff(mask.reshape(-1, order="F"), prepend=0, append=0))
        counts: Any = np.diff([0, *flat.tolist(), mask.size]).tolist()
    else:
        counts = coco.encode(mask)["counts"].decode()
    annotation = {"id": 1, "video_id": 2, "segmentations": [None, {"size": [30, 50], "counts": counts}]}
    document = {**YTVIS, "annotations": [annotation]}
    boxes = read_coco_video(label_file(document), [])[1].objects[0].boxes
    assert boxes == [LabelledBox(1, 20, 5, 21, 4)]


@pytest.mark.parametrize(
    ("path", "new", "said"),
    [
        (("annotations", 0, "video_id"), 7, r"annotations\[0\]: video_id 7 is not among the videos"),
        (("annotations", 0, "bboxes"), [[1, 2, 3]], r"annotations\[0\].bboxes\[0\]: expected x, y, w, h or null"),
        (("annotations", 0, "bboxes"), [[1, 2, -3, 4]], r"bboxes\[0\]: expected a box with a width"),
        (("annotations", 0, "bboxes"), [[1, 2, "w", 4]], r"bboxes\[0\]: w: expected a number, got 'w'"),
        (("annotations", 3, "segmentations"), [{"size": [1]}], r"segmentations\[0\]: expected an RLE or polygons"),
        (("annotations", 0), {"image_id": 4, "bbox": [1, 2, 3, 4]}, "expected COCO for video"),
        (("videos", 1, "id"), 1, r"videos\[1\]: expected a video with an id of its own"),
        (("videos", 1), {"id": 2}, r"videos\[1\]: expected file_names"),
        (("videos",), None, "expected COCO for video"),
    ],
)
def test_coco_video_faults(path: tuple[str | int, ...], new: Any, said: str) -> None:
    with pytest.raises(LabelError, match=said):
        read_coco_video(label_file(changed(YTVIS, path, new)), [])
