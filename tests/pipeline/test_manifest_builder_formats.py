"""Each label format, read from small files whose truth is known; each fault is named by file and place."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco

from pipeline.manifest_builder.coco_video import read_coco_video
from pipeline.manifest_builder.cvat import read_cvat
from pipeline.manifest_builder.files import LabelFile
from pipeline.manifest_builder.label_studio import read_label_studio
from pipeline.manifest_builder.labels import LabelError, LabelledBox
from pipeline.manifest_builder.mot import read_mot

CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta>
    <task><id>7</id><name>harbour task</name><mode>interpolation</mode>
      <labels><label><name>boat</name></label></labels>
      <original_size><width>640</width><height>360</height></original_size>
    </task>
    <dumped>2026-01-01</dumped><source>harbour.mp4</source>
  </meta>
  <track id="0" label="boat" source="manual">
    <box frame="3" outside="1" occluded="0" keyframe="1" xtl="9" ytl="9" xbr="19" ybr="19" z_order="0"></box>
    <box frame="4" outside="0" occluded="0" keyframe="1" xtl="10.50" ytl="20.00" xbr="40.50" ybr="60.00" z_order="0">
      <attribute name="colour">red</attribute></box>
    <box frame="5" outside="0" occluded="0" keyframe="0" xtl="11.50" ytl="20.00" xbr="41.50" ybr="60.00"></box>
    <box frame="9" outside="0" occluded="1" keyframe="1" xtl="15.00" ytl="20.00" xbr="45.00" ybr="60.00"></box>
    <box frame="10" outside="1" occluded="0" keyframe="1" xtl="15.00" ytl="20.00" xbr="45.00" ybr="60.00"></box>
  </track>
  <track id="1" label="gull">
    <box frame="0" outside="0" keyframe="1" xtl="100" ytl="50" xbr="120" ybr="60" rotation="90.00"></box>
  </track>
  <track id="2" label="kite">
    <polygon frame="2" outside="0" keyframe="1" points="10.00,5.00;30.00,5.00;20.00,45.00"></polygon>
  </track>
  <track id="3" label="crane">
    <mask frame="1" outside="0" keyframe="1" rle="1, 2, 1" left="7" top="8" width="3" height="4"></mask>
  </track>
  <track id="4" label="path"><polyline frame="0" outside="0" keyframe="1" points="1,1;2,2"></polyline></track>
  <track id="5" label="ghost"><box frame="0" outside="1" keyframe="1" xtl="1" ytl="1" xbr="2" ybr="2"></box></track>
</annotations>
"""

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
MOT = "1,1,101,51,20,40,1,1,0.9\n2, 1, 103.5, 51, 20, 40, 1, 1, 1\n\n2,7,11,21,5,6,0,1,1\n3,7,12,22,5,6,-1,-1,-1,-1\n"


def label_file(content: str | bytes | Any, name: str = "labels") -> LabelFile:
    if not isinstance(content, str | bytes):
        content = json.dumps(content)
    data = content.encode() if isinstance(content, str) else content
    return LabelFile(name, "", "harbour", data)


def test_cvat() -> None:
    notes: list[str] = []
    (video,) = read_cvat(label_file(CVAT), notes)
    assert (video.names, video.unit) == (("harbour.mp4", "harbour task"), "pixels")
    boat, gull, kite, crane = video.objects
    assert boat.object_id == "boat-0"
    assert boat.boxes == [
        LabelledBox(4, 10.5, 20, 30, 40),
        LabelledBox(5, 11.5, 20, 30, 40, drawn=False),
        LabelledBox(9, 15, 20, 30, 40),
    ]
    # Turned by 90 degrees about its centre (110, 55), 20 x 10 becomes 10 x 20.
    assert gull.boxes[0].corners() == pytest.approx((115, 45, 115, 65, 105, 65, 105, 45))
    assert kite.boxes == [LabelledBox(2, 10, 5, 20, 40)]
    assert crane.boxes == [LabelledBox(1, 7, 8, 3, 4)]
    assert len(notes) == 2 and "path-4" in notes[0] and "ghost-5 has no box" in notes[1]


def test_cvat_project() -> None:
    tracks = "".join(
        f'<track id="{i}" label="a" task_id="{task}"><box frame="0" outside="0" keyframe="1" '
        'xtl="1" ytl="1" xbr="3" ybr="5"/></track>'
        for i, task in enumerate((21, 22, 21))
    )
    tasks = "".join(
        f"<task><id>{task}</id><name>t{task}</name><source>{task}.mp4</source></task>" for task in (21, 22, 23)
    )
    xml = f"<annotations><meta><project><name>p</name><tasks>{tasks}</tasks></project></meta>{tracks}</annotations>"
    videos = read_cvat(label_file(xml), [])
    found = {video.names[0]: [one.object_id for one in video.objects] for video in videos}
    assert found == {"21.mp4": ["a-0", "a-2"], "22.mp4": ["a-1"], "23.mp4": []}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('xtl="10.50"', 'xtl="ten"', r"labels:13: xtl: expected a number, got 'ten'"),
        ('xbr="40.50"', 'xbr="10.50"', r"labels:13: expected a box with a width and a height above 0, got 0 x 40"),
        ('frame="4"', 'frame="-4"', r"labels:13: frame: expected a whole number of 0 or more"),
        ('frame="4" ', "", r"labels:13: frame: .* got None"),
        ('frame="5"', 'frame="4"', r"labels:15: track boat-0 has two shapes on frame 4"),
        ('id="1"', "", r"labels:19: expected a track with an id"),
        ("</annotations>", "", r"labels:\d+: expected XML"),
        ("<source>harbour.mp4</source>", "<source/>", None),
        ("<track", '<image id="0"/><track', r"labels:11: this is an export of single images"),
        ("<annotations>", "<!DOCTYPE x []><annotations>", r"document type"),
    ],
)
def test_cvat_faults(old: str, new: str, said: str | None) -> None:
    text = CVAT.replace(old, new, 1)
    assert text != CVAT
    if said is None:
        assert read_cvat(label_file(text), [])[0].names == ("harbour task",)
        return
    with pytest.raises(LabelError, match=said):
        read_cvat(label_file(text), [])


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


def _changed(value: Any, path: tuple[str | int, ...], new: Any) -> Any:
    copy = json.loads(json.dumps(value))
    inner = copy
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = new
    return copy


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
        (_SEQUENCE, [], r"value.sequence: expected a list of boxes"),
        ((0, "data"), {}, r"\[0\].data: expected the URL of a video"),
        ((0, "annotations"), None, "not as JSON-MIN"),
        ((0,), 5, r"\[0\]: expected a task"),
    ],
)
def test_label_studio_faults(path: tuple[str | int, ...], new: Any, said: str) -> None:
    with pytest.raises(LabelError, match=said):
        read_label_studio(label_file(_changed([TASK], path, new)), [])


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
        read_coco_video(label_file(_changed(YTVIS, path, new)), [])


def test_json_faults_name_the_line() -> None:
    for read in (read_label_studio, read_coco_video):
        with pytest.raises(LabelError, match="labels:3: expected JSON"):
            read(label_file('{"a": 1,\n"b": 2,\n}'), [])
        with pytest.raises(LabelError, match="UTF-8"):
            read(label_file(b"\xff\xfe\xfa{}"), [])


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
        ("0,1,3,4,5,6", "labels:5: frame: expected a whole number of 1 or more, got '0'"),
        ("1,1,3,4,5,6", "labels:5: expected one box an object and frame, got a second one of object 1"),
        ("9,1,x,4,5,6", "labels:5: left: expected a number, got 'x'"),
        ("9,1,3,4,5,0", "labels:5: expected a box with a width"),
        ("9,-1,3,4,5,6", "got detections"),
    ],
)
def test_mot_faults(line: str, said: str) -> None:
    text = "\n".join([*MOT.splitlines()[:4], line])
    with pytest.raises(LabelError, match=said):
        read_mot(label_file(text), [])


boxes = st.tuples(*[st.integers(1, 400)] * 4)
tracks = st.dictionaries(
    st.integers(0, 99), st.dictionaries(st.integers(0, 50), boxes, min_size=1, max_size=4), min_size=1, max_size=4
)


@given(tracks)
def test_all_formats_tell_the_same(truth: dict[int, dict[int, tuple[int, int, int, int]]]) -> None:
    mot, xml, annotations = [], [], []
    for track, found in truth.items():
        shapes = ""
        for frame, (x, y, w, h) in sorted(found.items()):
            mot.append(f"{frame + 1},{track},{x + 1},{y + 1},{w},{h},1,1,1")
            shapes += f'<box frame="{frame}" outside="0" keyframe="1" xtl="{x}" ytl="{y}" xbr="{x + w}" ybr="{y + h}"/>'
        xml.append(f'<track id="{track}" label="t">{shapes}</track>')
        annotations.append({"id": track, "video_id": 1, "bboxes": [found.get(frame) for frame in range(51)]})
    cvat = f"<annotations><meta><source>harbour.mp4</source></meta>{''.join(xml)}</annotations>"
    ytvis = {"videos": [{"id": 1, "name": "harbour"}], "annotations": annotations}
    read = [
        read_mot(label_file("\n".join(mot)), [])[0],
        read_cvat(label_file(cvat), [])[0],
        read_coco_video(label_file(ytvis), [])[0],
    ]
    wanted = {
        str(track): [LabelledBox(frame, *found[frame]) for frame in sorted(found)] for track, found in truth.items()
    }
    for video in read:
        assert {one.object_id.rpartition("-")[2]: one.boxes for one in video.objects} == wanted
