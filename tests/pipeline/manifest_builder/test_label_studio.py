"""Label Studio's JSON, read from a small export whose truth is known; each fault is named by its place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipeline.manifest_builder.formats.label_studio import read_label_studio
from pipeline.manifest_builder.labelled_video import LabelError
from tests.pipeline.manifest_builder.labels import changed, label_file

REGION: dict[str, Any] = {
    "id": "x8HkSd",
    "type": "videorectangle",
    "value": {
        "framesCount": 100,
        "duration": 4.0,
        "labels": ["Boat"],
        "sequence": [
            {"frame": 1, "enabled": True, "rotation": 0, "x": 10, "y": 20, "width": 30, "height": 40, "time": 0.04},
            {"frame": 2, "auto": True, "enabled": True, "rotation": 0, "x": 11, "y": 20, "width": 30, "height": 40},
            {"frame": 9, "enabled": False, "rotation": 30, "x": 12, "y": 20, "width": 30, "height": 40},
        ],
    },
}
TASK: dict[str, Any] = {
    "id": 12,
    "data": {"video": "/data/upload/1/1a2b3c4d-harbour%20day.mp4"},
    "annotations": [{"id": 1, "was_cancelled": True, "result": []}, {"id": 2, "result": [REGION]}],
}


def test_label_studio() -> None:
    notes: list[str] = []
    (video,) = read_label_studio(label_file([TASK]), notes)
    assert "harbour day.mp4" in video.names
    assert (video.unit, video.frames) == ("percent", 100)
    (boat,) = video.objects
    assert boat.object_id == "Boat-x8HkSd"
    assert [(box.frame, box.x, box.drawn) for box in boat.boxes] == [(0, 10, True), (1, 11, False), (8, 12, True)]
    # Turned by 30 degrees about the top-left corner, in pixels of a 200 x 100 frame.
    corners = boat.boxes[2].corners(2.0, 1.0)
    assert corners[:2] == pytest.approx((24, 20))
    assert corners[2:4] == pytest.approx((24 + 60 * np.cos(np.pi / 6), 20 + 60 * np.sin(np.pi / 6)))
    assert notes == []


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("s3://bucket/videos/a.mp4", "a.mp4"),
        ("/data/local-files/?d=videos/a.mp4", "a.mp4"),
        ("https://host/x/a.mp4?X-Amz-Signature=secret", "a.mp4"),
        ("/data/upload/1/0123abcd-a.mp4", "a.mp4"),
    ],
)
def test_label_studio_names(url: str, name: str) -> None:
    (video,) = read_label_studio(label_file([{**TASK, "data": {"video": url}}]), [])
    assert name in video.names
    assert "secret" not in str(video)


def test_label_studio_takes_the_ground_truth() -> None:
    other = {**REGION, "id": "other"}
    annotations = [{"result": [REGION]}, {"ground_truth": True, "result": [other, {"type": "timelinelabels"}]}]
    notes: list[str] = []
    (video,) = read_label_studio(label_file([{**TASK, "annotations": annotations}]), notes)
    assert [one.object_id for one in video.objects] == ["Boat-other"]
    assert "2 annotations; took annotations[1]" in notes[0] and "1 regions that are no video rectangles" in notes[1]


_SEQUENCE = (0, "annotations", 1, "result", 0, "value", "sequence")


@pytest.mark.parametrize(
    ("path", "new", "said"),
    [
        (
            (*_SEQUENCE, 0, "x"),
            None,
            r"labels: \[0\].annotations\[1\].result\[0\].value.sequence\[0\]: x: expected a numb",
        ),
        ((*_SEQUENCE, 0, "frame"), 0, r"frame: expected a whole number of 1 or more"),
        ((*_SEQUENCE, 2, "frame"), 1, r"expected one box a frame, got two on frame 1"),
        ((*_SEQUENCE, 1, "width"), 0, r"sequence\[1\]: expected a box with a width"),
        (_SEQUENCE, 7, r"value.sequence: expected a list of boxes"),
        ((0, "data"), {}, r"\[0\].data: expected the URL of a video"),
        ((0, "annotations"), None, "export as JSON"),
        ((0,), 5, r"\[0\]: expected a task"),
    ],
)
def test_label_studio_faults(path: tuple[str | int, ...], new: Any, said: str) -> None:
    with pytest.raises(LabelError, match=said):
        read_label_studio(label_file(changed([TASK], path, new)), [])
