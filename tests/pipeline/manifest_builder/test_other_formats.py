"""Formats with one record a box, each in the shape of its real files: frames, ids, labels, and what is no box."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.manifest_builder.formats.coco_images import read_coco_images
from pipeline.manifest_builder.formats.mot import read_mot
from pipeline.manifest_builder.formats.supervisely import read_supervisely
from pipeline.manifest_builder.formats.via import read_via
from pipeline.manifest_builder.formats.vot import read_vot
from pipeline.manifest_builder.formats.yolo import read_yolo
from pipeline.manifest_builder.label_formats import recognise
from pipeline.manifest_builder.labelled_video import LabelError, LabelledVideo
from tests.pipeline.manifest_builder.labels import label_file


def found(video: LabelledVideo) -> dict[str, list[tuple[float, ...]]]:
    """frame, x, y, w, h of each object's boxes."""
    return {
        item.object_id: [tuple(round(v, 6) for v in (box.frame, box.x, box.y, box.w, box.h)) for box in item.boxes]
        for item in video.objects
    }


MOT_ROW = "1,3,10,20,30,40,1,1,1"


@pytest.mark.parametrize(
    ("path", "content", "name"),
    [
        ("a/gt/gt.txt", MOT_ROW, "mot"),
        ("a.txt", "1 1 10 20 30 40", "mot"),
        ("a.txt", "1,1,10,20,30,40,1,1", "mot"),
        ("a.txt", "1,-1,10,20,30,40,0.9,-1,-1,-1", "mot"),
        ("a/groundtruth.txt", "367,101,408,101,408,117,367,117\n366,103,411,103,411,119,366,119", "vot"),
        ("a/groundtruth.txt", "367.5,101,408,101,408,117,367,117\nnan,nan,nan,nan,nan,nan,nan,nan", "vot"),
        ("a/groundtruth.txt", "10,20,30,40\nNaN,NaN,NaN,NaN", "vot"),
        ("a/groundtruth_rect.txt", "198\t214\t34\t81", "vot"),
        ("a/groundtruth.txt", "m10,20,3,4,0,12", "vot"),
        ("a_1.txt", "0 0.5 0.5 0.2 0.1", "yolo"),
        ("a_1.txt", "0 0.5 0.5 0.2 0.1 7", "yolo"),
        ("a_1.txt", "0 0.5 0.5 0.2 0.1 0.93 7", "yolo"),
        ("a_1.txt", "1 0.5 0.5 0.2 0.1 1", "yolo"),
        ("0000.txt", "0 0 Car 0 0 -1.79 296.7 161.7 455.2 292.3 2.0 1.8 4.4 -4.5 1.8 13.4 -2.1", "kitti"),
        ("0000.txt", "0 -1 DontCare -1 -1 -10 219.3 188.4 245.5 218.5 -1000 -1000 -1000 -10 -1 -1 -1", "kitti"),
        ("x.txt", "0 0.5 0.5", None),
        ("x.txt", "one two three four five six", None),
        ("x.txt", "1,2,3", None),
    ],
)
def test_text_is_known_by_its_columns(path: str, content: str, name: str | None) -> None:
    assert recognise(label_file(content, path)) == name


def test_cvats_mot_has_labels_beside_it_and_counts_pixels_from_0() -> None:
    text = "1,1,10,20,30,40,1,2,1.0\n2,1,11,20,30,40,1,2,1.0\n1,-1,1,1,2,2,1,1,1.0\n"
    notes: list[str] = []
    (video,) = read_mot(label_file(text, "clip/gt/gt.txt", labels_txt="car\nboat\n"), notes)
    assert found(video) == {"boat-1": [(0, 10, 20, 30, 40), (1, 11, 20, 30, 40)]}
    assert video.objects[0].category == "boat" and video.names == ("clip",)
    assert notes == ["labels: 1 boxes without an id passed over"]


def test_mot_that_has_a_frame_0_counts_from_there() -> None:
    notes: list[str] = []
    (video,) = read_mot(label_file("0,4,11,21,3,4\n1,4,12,21,3,4"), notes)
    assert found(video) == {"4": [(0, 10, 20, 3, 4), (1, 11, 20, 3, 4)]} and "frame 0" in notes[0]


def test_detections_of_one_frame_are_objects_and_of_several_are_refused() -> None:
    (video,) = read_mot(label_file("3,-1,11,21,3,4,0.9\n3,-1,31,21,3,4,0.8"), [])
    assert found(video) == {"object-0": [(2, 10, 20, 3, 4)], "object-1": [(2, 30, 20, 3, 4)]}
    with pytest.raises(LabelError, match=r"detections \(boxes without an id\) on 2 frames"):
        read_mot(label_file("3,-1,11,21,3,4,0.9\n4,-1,31,21,3,4,0.8"), [])


def test_vot_lines_without_the_object_and_files_of_two_objects() -> None:
    (video,) = read_vot([label_file("NaN,NaN,NaN,NaN\n0,0,0,0\n1\n5,6,7,8", "v/Jogging/groundtruth.txt")], [])
    assert (video.names, found(video)) == (("Jogging",), {"object": [(3, 5, 6, 7, 8)]})
    files = [label_file(f"{x},2,3,4", f"v/Jogging/groundtruth_rect.{x}.txt") for x in (1, 2)]
    (video,) = read_vot(files, [])
    assert found(video) == {"1": [(0, 1, 2, 3, 4)], "2": [(0, 2, 2, 3, 4)]}
    (video,) = read_vot([label_file("m10,20,3,4,0,12", "v/bag/groundtruth.txt")], [])
    assert found(video) == {"object": [(0, 10, 20, 3, 4)]}


def test_yolo_files_of_a_video() -> None:
    """Ultralytics counts the frames of a video from 1 and writes no leading zeros; CVAT counts from 0."""
    files = [
        label_file("2 0.5 0.5 0.2 0.1 7\n0 0.1 0.2 0.1 0.1 8", "labels/clip_2.txt", classes_txt="a\nb\nship\n"),
        label_file("2 0.6 0.5 0.2 0.1 7", "labels/clip_10.txt"),
    ]
    (video,) = read_yolo(files, [])
    assert (video.names[0], video.unit) == ("clip", "percent")
    assert found(video) == {"ship-7": [(1, 40, 45, 20, 10), (9, 50, 45, 20, 10)], "a-8": [(1, 5, 15, 10, 10)]}
    yaml = "names:\n  0: car\n  1: 'boat'\n"
    (video,) = read_yolo([label_file("1 0.5 0.5 0.2 0.1", "clip/labels/frame_000012.txt", **{"data_yaml": yaml})], [])
    assert video.names[0] == "clip" and found(video) == {"boat-0": [(12, 40, 45, 20, 10)]}


CATEGORIES = [{"id": 1, "name": "car"}]


def _annotation(image: int, x: int, **more: Any) -> dict[str, Any]:
    return {"id": x, "image_id": image, "category_id": 1, "bbox": [x, 2, 3, 4], **more}


@pytest.mark.parametrize(
    ("images", "track", "names", "frames"),
    [
        # CocoVID of mmtracking
        (
            [{"id": i, "video_id": 5, "frame_id": i, "file_name": f"v/{i:06d}.jpg"} for i in (3, 4)],
            lambda t: {"instance_id": t},
            ("harbour", "harbour"),
            (3, 4),
        ),
        # TAO: one image a second
        (
            [{"id": i, "video_id": 5, "frame_index": 30 * i, "file_name": f"train/v/frame{i:04d}.jpg"} for i in (1, 2)],
            lambda t: {"track_id": t, "video_id": 5},
            ("harbour", "harbour"),
            (30, 60),
        ),
        # CVAT
        (
            [{"id": i + 1, "file_name": f"frame_{i:06d}.PNG"} for i in (7, 20)],
            lambda t: {"attributes": {"track_id": t, "keyframe": True, "occluded": False}},
            ("export",),
            (7, 20),
        ),
        # pictures of a sequence, which count from 1
        (
            [{"id": i, "file_name": f"seq/img1/{i:06d}.jpg"} for i in (1, 2)],
            lambda t: {"track_id": t},
            ("seq/img1", "img1", "export"),
            (0, 1),
        ),
    ],
)
def test_coco_of_images(
    images: list[dict[str, Any]], track: Any, names: tuple[str, ...], frames: tuple[int, ...]
) -> None:
    annotations = [_annotation(image["id"], 10 + i, **track(9)) for i, image in enumerate(images)]
    document = {"images": images, "annotations": annotations, "categories": CATEGORIES}
    if "video_id" in images[0]:
        document["videos"] = [{"id": 5, "name": "harbour"}]
    file = label_file(document, "export.json")
    assert recognise(file) == "coco"
    (video,) = read_coco_images(file, [])
    assert video.names == names
    assert found(video) == {"car-9": [(frames[0], 10, 2, 3, 4), (frames[1], 11, 2, 3, 4)]}


def test_coco_results_of_one_frame_are_its_objects() -> None:
    file = label_file([{**_annotation(4, x), "score": 0.9} for x in (10, 20)], "clip.json")
    assert recognise(file) == "coco"
    (video,) = read_coco_images(file, [])
    assert found(video) == {"object-0": [(4, 10, 2, 3, 4)], "object-1": [(4, 20, 2, 3, 4)]}
    with pytest.raises(LabelError, match="on 2 frames"):
        read_coco_images(label_file([_annotation(4, 1), _annotation(5, 2)], "clip.json"), [])
    (video,) = read_coco_images(label_file([_annotation(i, i, track_id=3) for i in (4, 5)], "clip.json"), [])
    assert list(found(video)) == ["3"]


def test_supervisely_bitmaps_polygons_and_points() -> None:
    shape = {"geometryType": "polygon", "geometry": {"points": {"exterior": [[1, 2], [9, 2], [5, 8]], "interior": []}}}
    point = {"geometryType": "point", "geometry": {"points": {"exterior": [[1, 2]], "interior": []}}}
    document = {
        "framesCount": 9,
        "objects": [{"key": "k", "id": 44, "classTitle": "kite"}],
        "frames": [{"index": 3, "figures": [{"objectKey": "k", **shape}, {"objectKey": "k", **point}]}],
    }
    file = label_file(document, "ds/ann/clip.mp4.json")
    assert recognise(file) == "supervisely"
    notes: list[str] = []
    (video,) = read_supervisely(file, notes)
    assert video.names[0] == "clip.mp4" and found(video) == {"kite-44": [(3, 1, 2, 8, 6)]}
    assert notes == ["labels: 1 figures without a box passed over"]


def test_via_regions_with_an_id_are_tracks() -> None:
    document = {
        "project": {},
        "attribute": {"1": {"aname": "class"}, "2": {"aname": "ID"}},
        "file": {"1": {"fname": "clip.mp4"}},
        "view": {"1": {"fid_list": ["1"]}},
        "metadata": {
            f"1_{i}": {"vid": "1", "z": [z], "xy": [2, 1, 2, 3, 4], "av": {"1": "boat", "2": "5"}}
            for i, z in enumerate((0.5, 1.0))
        }
        | {"1_x": {"vid": "1", "z": [0, 2], "xy": [], "av": {}}},
    }
    notes: list[str] = []
    (video,) = read_via(label_file(json.dumps(document)), notes)
    assert found(video) == {"boat-5": [(500, 1, 2, 3, 4), (1000, 1, 2, 3, 4)]} and video.clock == "milliseconds"
    assert len(notes) == 1
