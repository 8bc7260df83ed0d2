"""What label formats have in common: the same boxes in each, and faults of JSON."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.manifest_builder.formats.coco_video import read_coco_video
from pipeline.manifest_builder.formats.cvat import read_cvat
from pipeline.manifest_builder.formats.label_studio import read_label_studio
from pipeline.manifest_builder.formats.mot import read_mot
from pipeline.manifest_builder.labelled_video import LabelError, LabelledBox
from tests.pipeline.manifest_builder.labels import label_file


def test_json_faults_name_the_line() -> None:
    for read in (read_label_studio, read_coco_video):
        with pytest.raises(LabelError, match="labels:3: expected JSON"):
            read(label_file('{"a": 1,\n"b": 2,\n}'), [])
        with pytest.raises(LabelError, match="UTF-8"):
            read(label_file(b"\xff\xfe\xfa{}"), [])


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
