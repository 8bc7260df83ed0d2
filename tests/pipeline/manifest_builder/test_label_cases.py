"""Exports that went wrong, from labels to the manifest's rows, each with its right answer, and others of their kind."""

from __future__ import annotations

import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import UsageError
from pipeline.manifest_builder import build_manifest
from tests.pipeline.videos import make_video


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """one.mp4 (30 frames), two.mp4 (60), clip.mp4 (71), all of 320x240, and `my video (1).mp4` (8)."""
    folder = tmp_path_factory.mktemp("videos")
    for name, frames in (("one", 30), ("two", 60), ("clip", 71), ("my video (1)", 8)):
        make_video(folder / f"{name}.mp4", frames, width=320, height=240)
    return folder


def build(videos: Path, labels: Path, **options: Any) -> tuple[dict[str, list[dict[str, Any]]], tuple[str, ...]]:
    """The objects of each clip by the video's name, and the notes."""
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch) / "m.jsonl"
        built = build_manifest(str(videos), str(labels), str(target), **options)
        rows = [json.loads(line) for line in target.read_text().splitlines()]
    for item in (item for row in rows for item in row["objects"]):
        category = item.pop("category", None)
        assert category is None or item["object_id"].startswith(f"{category}-")
    return {Path(row["video_uri"]).name: row["objects"] for row in rows}, built.notes


@pytest.fixture
def cases(shared: Path) -> Path:
    """The cases of labels."""
    return shared / "cases" / "labels"


def test_a_cvat_project_counts_frames_on_through_its_tasks(folder: Path, cases: Path) -> None:
    rows, notes = build(folder, cases / "cvat-project" / "annotations.xml")
    assert rows["one.mp4"] == [{"object_id": "boat-0", "init_frame": 2, "box": [10, 20, 40, 40], "end_frame": 3}]
    two = rows["two.mp4"][0]
    assert (two["object_id"], two["init_frame"], two["box"]) == ("boat-1", 5, [100, 90, 50, 70])


def test_subsets_steps_and_starts_of_a_cvat_project(folder: Path, tmp_path: Path) -> None:
    """Offsets count in a subset alone: start_frame + step * size of the tasks before."""
    tasks = "".join(
        f"<task><id>{i}</id><name>{name}</name><size>{size}</size><subset>{subset}</subset><start_frame>{start}"
        f"</start_frame><frame_filter>{step}</frame_filter><source>{name}.mp4</source></task>"
        for i, (name, size, subset, start, step) in enumerate(
            [("one", 5, "Train", 4, "step=3"), ("two", 60, "Train", 0, ""), ("clip", 71, "Validation", 0, "")], start=1
        )
    )
    tracks = "".join(
        f'<track id="{i}" label="b" task_id="{i}"><box frame="{frame}" outside="0" keyframe="1" xtl="1" ytl="1" '
        f'xbr="9" ybr="9"/></track>'
        for i, frame in ((1, 7), (2, 4 + 3 * 5 + 8), (3, 50))
    )
    xml = f"<annotations><meta><project><tasks>{tasks}</tasks></project></meta>{tracks}</annotations>"
    (tmp_path / "a.xml").write_text(xml)
    rows, _ = build(folder, tmp_path / "a.xml")
    assert {name: objects[0]["init_frame"] for name, objects in rows.items()} == {
        "one.mp4": 7,
        "two.mp4": 8,
        "clip.mp4": 50,
    }


JOB = """<annotations><meta><job><id>9</id><size>30</size><mode>interpolation</mode><start_frame>0</start_frame></job>
<dumped>2026</dumped></meta><track id="0" label="boat">{boxes}</track></annotations>"""


def _boxes(*frames: tuple[int, int, int]) -> str:
    return "".join(
        f'<box frame="{frame}" outside="{outside}" keyframe="{key}" xtl="{frame}" ytl="1" xbr="{frame + 9}" ybr="9"/>'
        for frame, outside, key in frames
    )


@pytest.mark.parametrize("name", ["one.xml", "one.zip", "other.xml"])
def test_a_cvat_job_is_named_by_its_file(folder: Path, tmp_path: Path, name: str) -> None:
    text = JOB.format(boxes=_boxes((3, 0, 1)))
    if name.endswith(".zip"):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("annotations.xml", text)
    else:
        (tmp_path / name).write_text(text)
    if name == "other.xml":
        with pytest.raises(UsageError, match="they name 'other'"):
            build(folder, tmp_path / name)
        rows, _ = build(folder / "one.mp4", tmp_path / name)
    else:
        rows, _ = build(folder, tmp_path / name)
    assert rows["one.mp4"][0]["init_frame"] == 3


def test_outside_ends_an_object_and_its_return_is_a_key_frame(folder: Path, tmp_path: Path) -> None:
    boxes = _boxes((3, 0, 1), (4, 0, 0), (5, 0, 1), (6, 1, 1), (10, 0, 1), (11, 0, 0), (12, 0, 1), (29, 1, 1))
    (tmp_path / "one.xml").write_text(JOB.format(boxes=boxes))
    spans: dict[str, list[tuple[int, int | None]]] = {}
    for keyframes in ("first", "all"):
        for ends in ("labelled", "ignore"):
            rows, _ = build(folder, tmp_path / "one.xml", keyframes=keyframes, ends=ends)
            spans[f"{keyframes} {ends}"] = [(item["init_frame"], item.get("end_frame")) for item in rows["one.mp4"]]
    assert spans == {
        "first labelled": [(3, 6), (10, 29)],
        "first ignore": [(3, None)],
        "all labelled": [(3, 6), (5, 6), (10, 29), (12, 29)],
        "all ignore": [(3, None), (5, None), (10, None), (12, None)],
    }


def test_an_empty_region_of_label_studio_is_passed_over(folder: Path, cases: Path, tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    for name in ("one", "two"):
        make_video(tmp_path / "v" / f"{name}.mp4", 100, width=320, height=240)
    rows, notes = build(tmp_path / "v", cases / "ls-empty-sequence" / "export.json")
    assert rows["one.mp4"] == [
        # Switched off at its frame 50, the video's 49, which is the last on which the editor shows it.
        {"object_id": "boat-aaaa", "init_frame": 0, "box": [32, 48, 96, 96], "end_frame": 50}
    ]
    assert [(item["object_id"], item["init_frame"]) for item in rows["two.mp4"]] == [("buoy-cccc", 10)]
    assert sum("boat-bbbb is empty" in note for note in notes) == 1
    rows, _ = build(tmp_path / "v", cases / "ls-empty-sequence" / "export.json", ends="ignore")
    assert "end_frame" not in rows["one.mp4"][0]


def test_names_as_django_keeps_uploads(folder: Path, tmp_path: Path) -> None:
    region = {"type": "videorectangle", "id": "r", "value": {"labels": ["a"], "sequence": [
        {"frame": 1, "enabled": True, "x": 10, "y": 10, "width": 10, "height": 10}]}}  # fmt: skip
    task = {"data": {"video": "/data/upload/1/1b2c3d4e-my_video_1.mp4"}, "annotations": [{"result": [region]}]}
    (tmp_path / "e.json").write_text(json.dumps([task]))
    rows, _ = build(folder, tmp_path / "e.json")
    assert list(rows) == ["my video (1).mp4"]


def test_whole_numbered_polygons_are_no_mot(folder: Path, cases: Path) -> None:
    rows, _ = build(folder / "clip.mp4", cases / "vot-as-mot" / "groundtruth.txt")
    assert rows["clip.mp4"] == [
        {"object_id": "object", "init_frame": 0, "polygon": [367, 101, 408, 101, 408, 117, 367, 117]}
    ]


EXPECTED: dict[str, list[dict[str, Any]]] = {
    "bdd.json": [{"object_id": "car-1", "init_frame": 0, "box": [10, 10, 30, 40]}],
    "coco_cvat.json": [{"object_id": "car-0", "init_frame": 0, "box": [10, 10, 10, 10]}],
    "cvatbackup_annotations.json": [{"object_id": "car-0", "init_frame": 3, "box": [10, 10, 30, 40]}],
    "kitti/clip.txt": [{"object_id": "Car-0", "init_frame": 0, "box": [296.745, 161.752, 158.481, 130.621]}],
    "labelbox.ndjson": [{"object_id": "car-f", "init_frame": 0, "box": [10, 10, 20, 20]}],
    "labelme.json": [{"object_id": "car-1", "init_frame": 0, "box": [10, 10, 30, 40]}],
    "lsmin.json": [{"object_id": "hand-0", "init_frame": 0, "box": [32, 24, 64, 48]}],
    "lspred.json": [{"object_id": "hand-a1", "init_frame": 0, "box": [32, 24, 64, 48]}],
    "otb3/groundtruth_rect.txt": [{"object_id": "object", "init_frame": 0, "box": [198, 214, 34, 81]}],
    "sly.json": [{"object_id": "car-0", "init_frame": 0, "box": [10, 10, 20, 20]}],
    "via3.json": [{"object_id": "boat-0", "init_frame": 12, "box": [10, 10, 20, 20]}],  # 0.4 s at 30 a second
}


@pytest.mark.parametrize("name", EXPECTED)
def test_each_format_is_known_by_its_content(folder: Path, cases: Path, name: str) -> None:
    rows, _ = build(folder / "clip.mp4", cases / "manifest-formats" / name)
    assert rows["clip.mp4"] == EXPECTED[name]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("package.json", '{"name": "x", "version": "1"}', "it looks like JSON with 'name', 'version'; read are CVAT"),
        ("list.json", '[{"a": 1}]', "it looks like a list of 'a'; read are"),
        ("pom.xml", "<?xml version='1.0'?><project><a/></project>", "it looks like XML of <project>"),
        ("voc.xml", "<annotation><folder/></annotation>", "Pascal VOC, which has single images"),
        ("notes.txt", "call the harbour\n", "text that begins 'call the harbour'"),
        ("cut.json", '{"videos": [', "cut.json:1: expected JSON"),
        ("empty.txt", "", "an empty file"),
    ],
)
def test_what_is_no_labels_is_refused_alone_and_passed_over_in_a_folder(
    folder: Path, tmp_path: Path, name: str, content: str, said: str
) -> None:
    labels = tmp_path / "labels"
    labels.mkdir()
    (labels / name).write_text(content)
    for uri in (labels / name, labels):
        with pytest.raises(UsageError) as caught:
            build(folder, uri)
        assert said in str(caught.value) and "Label Studio," not in said
    (labels / "one.xml").write_text(JOB.format(boxes=_boxes((3, 0, 1))))
    rows, notes = build(folder, labels)
    assert list(rows) == ["one.mp4"]
    assert len(notes) == 1 and said in notes[0] and notes[0].endswith("passed over")


def test_labels_beyond_the_videos_end_are_left_out(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("3,1,5,5,9,9,1\n40,1,5,5,9,9,1\n31,2,5,5,9,9,1\n")
    rows, notes = build(folder, tmp_path / "one.txt", keyframes="all")
    assert [(item["object_id"], item["init_frame"]) for item in rows["one.mp4"]] == [("1", 2)]
    assert "2 boxes on frames from 30 on, where the video ends" in notes[-1]
    (tmp_path / "one.txt").write_text("40,1,5,5,9,9,1\n")
    with pytest.raises(UsageError, match="all boxes lie beyond the ends of their videos"):
        build(folder, tmp_path / "one.txt")


def test_masks_and_pictures_of_every_fifth_frame(tmp_path: Path) -> None:
    """YouTube-VOS: pictures and masks are named by the video's frames, and the clip counts the pictures."""
    pictures, masks = tmp_path / "JPEGImages" / "harbour", tmp_path / "Annotations" / "harbour"
    pictures.mkdir(parents=True)
    masks.mkdir(parents=True)
    for number in (0, 5, 10, 15):
        Image.new("RGB", (64, 48)).save(pictures / f"{number:05d}.jpg")
    for number, boxes in ((0, {1: (3, 4, 10, 8)}), (10, {1: (5, 4, 10, 8), 2: (30, 20, 6, 5)})):
        mask = np.zeros((48, 64), np.uint8)
        for value, (x, y, w, h) in boxes.items():
            mask[y : y + h, x : x + w] = value
        mask[40:, 60:] = 255
        picture = Image.fromarray(mask, "P")
        picture.putpalette(list(range(256)) * 3)
        picture.save(masks / f"{number:05d}.png")
    rows, _ = build(tmp_path / "JPEGImages", tmp_path / "Annotations", keyframes="all")
    assert rows["harbour"] == [
        {"object_id": "1", "init_frame": 0, "box": [3, 4, 10, 8]},
        {"object_id": "1", "init_frame": 2, "box": [5, 4, 10, 8]},
        {"object_id": "2", "init_frame": 2, "box": [30, 20, 6, 5]},
    ]
