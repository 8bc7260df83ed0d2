"""`jobs/manifest.py`: from videos and labels to a manifest that the service reads, and pictures of it."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import cv2
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from jobs.manifest import app
from pipeline.manifest import read_manifest
from tests.conftest import S3Store
from tests.pipeline.manifest_builder.test_coco_video import YTVIS
from tests.pipeline.manifest_builder.test_cvat import CVAT
from tests.pipeline.manifest_builder.test_label_studio import REGION, TASK
from tests.pipeline.manifest_builder.test_mot import MOT
from tests.pipeline.videos import make_video

GULL = [115, 45, 115, 65, 105, 65, 105, 45]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """harbour.mp4 (20 frames of 200x100), deep/bay.mp4 and unlabelled.mp4."""
    folder = tmp_path_factory.mktemp("data") / "videos"
    (folder / "deep").mkdir(parents=True)
    make_video(folder / "harbour.mp4", 20, width=200, height=100)
    make_video(folder / "deep" / "bay.mp4", 4)
    make_video(folder / "unlabelled.mp4", 2)
    (folder / "notes.txt").write_text("no video")
    return folder


def build(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_cvat_to_json_lines(videos: Path, tmp_path: Path) -> None:
    labels = write(tmp_path / "annotations.xml", CVAT)
    done = build(videos, "--boxes", labels, "--output", tmp_path / "manifest.jsonl")
    assert done.exit_code == 0, done.output
    assert f"1 clips, 4 objects in {tmp_path / 'manifest.jsonl'}" in done.stdout
    assert f"no labels for the video {videos / 'unlabelled.mp4'}" in done.stderr
    assert f"no labels for the video {videos / 'deep' / 'bay.mp4'}" in done.stderr
    assert "track ghost-5 has no box" in done.stderr
    (row,) = rows(tmp_path / "manifest.jsonl")
    assert (row["clip_id"], row["video_uri"]) == ("harbour", str(videos / "harbour.mp4"))
    assert row["objects"] == [
        {"object_id": "boat-0", "init_frame": 4, "box": [10.5, 20, 30, 40], "category": "boat", "end_frame": 10},
        {"object_id": "gull-1", "init_frame": 0, "polygon": GULL, "category": "gull"},
        {"object_id": "kite-2", "init_frame": 2, "box": [10, 5, 20, 40], "category": "kite"},
        {"object_id": "crane-3", "init_frame": 1, "box": [7, 8, 3, 4], "category": "crane"},
    ]


def test_all_key_frames_are_those_that_were_drawn(videos: Path, tmp_path: Path) -> None:
    labels = write(tmp_path / "annotations.xml", CVAT)
    done = build(videos, "--boxes", labels, "--output", tmp_path / "m.jsonl", "--keyframes", "all")
    assert done.exit_code == 0, done.output
    found = [(one["object_id"], one["init_frame"]) for one in rows(tmp_path / "m.jsonl")[0]["objects"]]
    assert found == [("boat-0", 4), ("boat-0", 9), ("gull-1", 0), ("kite-2", 2), ("crane-3", 1)]


def test_label_studio_percent_and_frames_become_the_videos_own(videos: Path, tmp_path: Path) -> None:
    """The labels count 100 frames, the video has 20: frame 9 of 100 is the video's frame 2 (8 / 5)."""
    task = {**TASK, "data": {"video": "s3://elsewhere/harbour.mp4"}}
    labels = write(tmp_path / "export.json", [task])
    done = build(videos, "--boxes", labels, "--output", tmp_path / "m.jsonl", "--keyframes", "all")
    assert done.exit_code == 0, done.output
    assert "labelled as 100 frames, the video has 20" in done.stderr
    first, second = rows(tmp_path / "m.jsonl")[0]["objects"]
    box = {"box": [20, 20, 60, 40], "category": "Boat"}
    assert first == {"object_id": "Boat-x8HkSd", "init_frame": 0, "end_frame": 2, **box}
    assert (second["init_frame"], second["end_frame"]) == (2, 3)
    assert second["polygon"] == pytest.approx([24, 20, 75.962, 50, 55.962, 84.641, 4, 54.641], abs=2e-3)


def test_labels_at_the_videos_rate_keep_their_frames(videos: Path, tmp_path: Path) -> None:
    region = {**REGION, "value": {**REGION["value"], "framesCount": 20}}
    task = {**TASK, "data": {"video": "harbour.mp4"}, "annotations": [{"result": [region]}]}
    done = build(
        videos, "--boxes", write(tmp_path / "e.json", [task]), "--output", tmp_path / "m.jsonl", "--keyframes", "all"
    )
    assert "frames were converted" not in done.stderr
    assert [one["init_frame"] for one in rows(tmp_path / "m.jsonl")[0]["objects"]] == [0, 8]


def test_a_folder_of_kinds_and_a_zip_to_parquet(videos: Path, tmp_path: Path) -> None:
    """MOT in a ZIP as tools export it (the archive's name is the sequence's), YouTube-VIS beside it."""
    labels = tmp_path / "labels"
    document = {**YTVIS, "videos": [{"id": 1, "name": "gone"}, YTVIS["videos"][1]]}
    write(labels / "ytvis.json", document)
    with zipfile.ZipFile(labels / "harbour.zip", "w") as archive:
        archive.writestr("gt/gt.txt", MOT)
        archive.writestr("gt/labels.txt", "boat\n")
    done = build(videos, "--boxes", labels, "--output", tmp_path / "m.parquet")
    assert done.exit_code == 0, done.output
    assert "no video for the labels of" in done.stderr and "gone" in done.stderr
    bay, harbour = pq.read_table(tmp_path / "m.parquet").sort_by("clip_id").to_pylist()
    assert (bay["clip_id"], harbour["clip_id"]) == ("bay", "harbour")
    assert [(one["object_id"], one["init_frame"], one["box"]) for one in harbour["objects"]] == [
        ("boat-1", 0, [101, 51, 20, 40]),  # CVAT's, as labels.txt says: pixels count from 0
        ("7", 2, [12, 22, 5, 6]),
    ]
    assert read_manifest(str(tmp_path / "m.parquet"), in_process=True).summary.objects == 3


def test_videos_below_the_manifest_are_named_relative_to_it(videos: Path) -> None:
    labels = write(videos.parent / "seq" / "harbour" / "gt" / "gt.txt", MOT)
    target = videos.parent / "m.jsonl"
    assert build(videos, "--boxes", labels.parent.parent.parent, "--output", target).exit_code == 0
    assert rows(target)[0]["video_uri"] == "videos/harbour.mp4"
    (clip,) = read_manifest(str(target), in_process=True).clips()
    assert clip.video_location == str(videos / "harbour.mp4")


def test_one_video_takes_the_one_set_of_labels(videos: Path, tmp_path: Path) -> None:
    labels = write(tmp_path / "gt.txt", MOT)
    done = build(videos / "deep" / "bay.mp4", "--boxes", labels, "--output", tmp_path / "m.jsonl")
    assert done.exit_code == 0, done.output
    assert rows(tmp_path / "m.jsonl")[0]["clip_id"] == "bay"


def test_preview_draws_the_boxes_where_they_are(videos: Path, tmp_path: Path) -> None:
    labels = write(
        tmp_path / "harbour.txt", "3,1,51,31,60,40,1\n3,2,121,31,60,40,1\n5,3,11,11,20,20,1\n99,4,1,1,9,9,1\n"
    )
    done = build(videos, "--boxes", labels, "--output", tmp_path / "m.jsonl", "--preview", tmp_path / "see")
    assert done.exit_code == 0, done.output
    assert f"2 pictures of init frames in {tmp_path / 'see'}" in done.stdout
    assert "1 boxes on frames from 20 on, where the video ends, passed over" in done.stderr
    assert sorted(path.name for path in (tmp_path / "see").iterdir()) == ["harbour-000002.jpg", "harbour-000004.jpg"]
    drawn = cv2.imread(str(tmp_path / "see" / "harbour-000002.jpg"))[..., ::-1].astype(int)
    assert drawn.shape == (100, 200, 3)
    orange, blue = (230, 159, 0), (86, 180, 233)
    assert abs(drawn[50, 50] - orange).max() < 60, "left side of the first box"
    assert abs(drawn[50, 180] - blue).max() < 60, "right side of the second box"


def test_a_bucket(videos: Path, tmp_path: Path, s3_store: S3Store) -> None:
    from pipeline import storage

    storage.upload_file(videos / "harbour.mp4", s3_store.uri("corpus/videos/harbour.mp4"))
    storage.write_bytes(
        s3_store.uri("corpus/labels.json"), json.dumps([{**TASK, "data": {"video": "harbour.mp4"}}]).encode()
    )
    target = s3_store.uri("corpus/manifest.jsonl")
    done = build(s3_store.uri("corpus/videos"), "--boxes", s3_store.uri("corpus/labels.json"), "--output", target)
    assert done.exit_code == 0, done.output
    (row,) = [json.loads(line) for line in storage.read_bytes(target).splitlines()]
    assert row["video_uri"] == "videos/harbour.mp4" and row["objects"][0]["box"] == [20, 20, 60, 40]


def test_faults_are_one_sentence_and_nothing_is_written(videos: Path, tmp_path: Path) -> None:
    good, target = write(tmp_path / "harbour.txt", MOT), tmp_path / "m.jsonl"
    (tmp_path / "empty").mkdir()
    two = tmp_path / "two"
    write(two / "harbour" / "gt.txt", MOT)
    write(two / "harbour.txt", MOT)
    twins = tmp_path / "twins"
    for folder in ("a", "b"):
        (twins / folder).mkdir(parents=True)
        (twins / folder / "harbour.mp4").touch()
    percent = write(tmp_path / "percent.json", [{**TASK, "data": {"video": "bad.mp4"}}])
    write(tmp_path / "broken" / "bad.mp4", "no video")
    cases = [
        ([videos, "--boxes", good, "--output", tmp_path / "m.csv"], "ends in .jsonl"),
        ([videos, "--boxes", good, "--output", target, "--format", "voc"], "--format voc: expected one of auto, cvat"),
        ([videos, "--boxes", good, "--output", target, "--keyframes", "2"], "--keyframes 2"),
        ([videos, "--boxes", tmp_path / "absent", "--output", target], "absent is not there"),
        ([videos, "--boxes", tmp_path / "empty", "--output", target], "holds no labels"),
        ([tmp_path / "empty", "--boxes", good, "--output", target], "holds no video"),
        ([tmp_path / "nowhere", "--boxes", good, "--output", target], "nowhere is not there"),
        ([videos, "--boxes", write(tmp_path / "other.txt", MOT), "--output", target], "they name 'other'"),
        ([videos, "--boxes", two, "--output", target], "give one set of labels a video"),
        ([twins, "--boxes", good, "--output", target], "fits 2 videos"),
        ([videos, "--boxes", write(tmp_path / "x.xml", "<a/>"), "--output", target], "it looks like XML of <a>"),
        ([videos, "--boxes", write(tmp_path / "x.zip", "no"), "--output", target], "x.zip: expected a ZIP archive"),
        ([tmp_path / "broken", "--boxes", percent, "--output", target], "cannot be read"),
    ]
    for arguments, said in cases:
        done = build(*arguments)
        assert done.exit_code == 2, (said, done.output)
        assert said in done.stderr and done.stderr.startswith("error: "), done.stderr
    assert not target.exists() and not (tmp_path / "m.csv").exists()
