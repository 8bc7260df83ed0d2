"""MOT text, read from a few lines whose truth is known; each fault is named by file and line."""

from __future__ import annotations

import pytest

from pipeline.manifest_builder.formats.mot import read_mot
from pipeline.manifest_builder.labelled_video import LabelError, LabelledBox
from tests.pipeline.manifest_builder.labels import label_file

MOT = "1,1,101,51,20,40,1,1,0.9\n2, 1, 103.5, 51, 20, 40, 1, 1, 1\n\n2,7,11,21,5,6,0,1,1\n3,7,12,22,5,6,-1,-1,-1,-1\n"


def test_mot() -> None:
    notes: list[str] = []
    (video,) = read_mot(label_file(MOT), notes)
    assert video.names == ("harbour",)
    assert [(one.object_id, one.boxes) for one in video.objects] == [
        ("1", [LabelledBox(0, 100, 50, 20, 40), LabelledBox(1, 102.5, 50, 20, 40)]),
        ("7", [LabelledBox(2, 11, 21, 5, 6)]),
    ]
    assert notes == ["labels: 1 boxes that are marked as not to be used passed over"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("1,2,3,4,5", "labels:5: expected frame, id, left"),
        ("-1,1,3,4,5,6", "labels:5: frame: expected a whole number of 1 or more, got '-1'"),
        ("1,1,3,4,5,6", "labels:5: expected one box an object and frame, got a second one of object 1"),
        ("9,1,x,4,5,6", "labels:5: left: expected a number, got 'x'"),
        ("9,1,3,4,5,0", "labels:5: expected a box with a width"),
    ],
)
def test_mot_faults(line: str, said: str) -> None:
    text = "\n".join([*MOT.splitlines()[:4], line])
    with pytest.raises(LabelError, match=said):
        read_mot(label_file(text), [])
