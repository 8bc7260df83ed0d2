"""CVAT for video, read from a small export whose truth is known; each fault is named by file and line."""

from __future__ import annotations

import pytest

from pipeline.manifest_builder.formats.cvat import read_cvat
from pipeline.manifest_builder.labelled_video import LabelError, LabelledBox
from tests.pipeline.manifest_builder.labels import label_file

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


def test_cvat() -> None:
    notes: list[str] = []
    (video,) = read_cvat(label_file(CVAT), notes)
    assert (video.names, video.unit) == (("harbour.mp4", "harbour task", "harbour"), "pixels")
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
        assert read_cvat(label_file(text), [])[0].names == ("harbour task", "harbour")
        return
    with pytest.raises(LabelError, match=said):
        read_cvat(label_file(text), [])
