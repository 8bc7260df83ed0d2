"""Label Studio predictions, by the rules of its SDK and editor, by the reader of labels, and back as corrections."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

import pytest

from pipeline.errors import UsageError
from pipeline.export.job import export_run
from pipeline.export.options import ExportOptions
from pipeline.manifest import read_manifest
from pipeline.manifest_builder.build import build_manifest
from pipeline.manifest_builder.corrections import correct_manifest
from tests.pipeline.example_run import CATEGORIES, FPS, ExampleRun, Track, write_example

FRAMES = {"alpha": 30, "crowd": 8, "cut": 10, "odd": 20}


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> ExampleRun:
    example = write_example(tmp_path_factory.mktemp("example"))
    options = ExportOptions(example.output, str(example.folder / "ls"), "label-studio", category="thing & more")
    assert export_run(options) == 0
    return example


@pytest.fixture
def tasks(example: ExampleRun) -> dict[str, dict[str, Any]]:
    listed = json.loads((example.folder / "ls" / "tasks.json").read_text())
    return {task["data"]["clip_id"]: task for task in listed}


def seen(example: ExampleRun, clip_id: str, object_id: str) -> dict[int, Track]:
    rows = {t.frame: t for t in example.of(clip_id) if t.object_id == object_id}
    return {frame: t for frame, t in rows.items() if t.area and not t.is_lost}


def test_its_sdk_would_take_every_region(example: ExampleRun, tasks: dict[str, dict[str, Any]]) -> None:
    """`LabelInterface.validate_prediction` and `VideoRectangleValue` of label-studio-sdk 2.1, spelled out."""
    config = ElementTree.parse(example.folder / "ls" / "config.xml").getroot()
    named = {item.get("name"): item for item in config}
    labels = {item.get("value") for item in named["videoLabels"]}
    assert labels == {"boat", "gull", "person", "thing & more"}
    assert named["video"].get("value") == "$video" and named["video"].get("framerate") == "$fps"
    assert tasks.keys() == FRAMES.keys()
    for clip_id, task in tasks.items():
        assert task["data"]["fps"] == FPS
        (path,) = parse_qs(urlsplit(task["data"]["video"]).query)["d"]
        assert Path("/", path) == example.videos[clip_id]
        (prediction,) = task["predictions"]
        assert len({region["id"] for region in prediction["result"]}) == len(prediction["result"]) > 0
        for region in prediction["result"]:
            assert named[region["from_name"]].tag.lower() == region["type"] == "videorectangle"
            assert named[region["from_name"]].get("toName") == region["to_name"] == "video"
            value = region["value"]
            assert isinstance(value["framesCount"], int) and value["framesCount"] == FRAMES[clip_id]
            assert value["duration"] == pytest.approx(FRAMES[clip_id] / FPS)
            assert set(value["labels"]) <= labels and len(value["labels"]) == 1
            for box in value["sequence"]:
                assert isinstance(box["frame"], int) and box["time"] == pytest.approx(box["frame"] / FPS)
                assert all(0 <= box[name] <= 100 for name in ("x", "y", "width", "height"))


def test_its_editor_shows_an_object_where_it_was_seen(example: ExampleRun, tasks: dict[str, dict[str, Any]]) -> None:
    """The rule of its `isInLifespan`: what the last box up to a frame says, and a box is itself always shown."""
    for clip_id, task in tasks.items():
        stride = 3 if clip_id == "odd" else 1
        for region in task["predictions"][0]["result"]:
            rows = seen(example, clip_id, region["meta"]["text"][0])
            sequence = {box["frame"] - 1: box["enabled"] for box in region["value"]["sequence"]}
            assert sequence.keys() == rows.keys()
            for frame in range(min(rows), FRAMES[clip_id]):
                last = max(f for f in sequence if f <= frame)
                between = frame - last < stride and (last + stride in rows or last + stride >= FRAMES[clip_id])
                assert (frame == last or sequence[last]) == (frame in rows or between), (clip_id, frame)


def test_the_reader_of_labels_reads_it(example: ExampleRun, tmp_path: Path) -> None:
    target = tmp_path / "m.jsonl"
    built = build_manifest(
        str(example.folder / "videos"), str(example.folder / "ls" / "tasks.json"), str(target), keyframes="all"
    )
    assert not built.videos_without and not built.labels_without
    clips = {Path(clip.video_uri).stem: clip for clip in read_manifest(str(target), in_process=True).clips()}
    assert clips.keys() == FRAMES.keys()
    for clip_id, clip in clips.items():
        truth = {
            (t.frame, CATEGORIES.get((clip_id, t.object_id), "thing & more"), t.box)
            for t in example.of(clip_id)
            if t.area and not t.is_lost
        }
        starts = {(start.init_frame, start.category, tuple(round(v, 2) for v in start.box)) for start in clip.objects}
        assert starts == truth
    ends = [(start.init_frame, start.end_frame) for start in clips["alpha"].objects if start.category == "boat"]
    assert ends[7:9] == [(11, 12), (13, 28)] and ends[-1] == (27, 28)
    assert {start.end_frame for start in clips["odd"].objects} == {None}  # to the video's end


def test_a_box_moved_in_it_is_a_key_frame(
    example: ExampleRun, tmp_path: Path, tasks: dict[str, dict[str, Any]]
) -> None:
    lines = [
        {"clip_id": clip_id, "video_uri": f"videos/{clip_id}.mkv", "objects": [
            {"object_id": object_id, "box": [1, 1, 9, 9], **({"init_frame": 10} if object_id == "b" else {})}
            for object_id in sorted({t.object_id for t in example.of(clip_id)})
        ]}
        for clip_id in FRAMES
    ]  # fmt: skip
    manifest = example.folder / "m.jsonl"
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))

    def corrected() -> Any:
        """As a project exports what became of the predictions."""
        document = [
            {**task, "annotations": [{"result": task["predictions"][0]["result"]}], "predictions": []}
            for task in tasks.values()
        ]
        (tmp_path / "annotations.json").write_text(json.dumps(document))
        target = str(example.folder / "m2.jsonl")
        return correct_manifest(str(manifest), str(tmp_path / "annotations.json"), example.output, target)

    with pytest.raises(UsageError, match="no box of it differs"):
        corrected()
    moved = tasks["alpha"]["predictions"][0]["result"][1]["value"]["sequence"]
    (box,) = [box for box in moved if box["frame"] == 16]
    box["x"] -= 5
    done = corrected()
    assert (done.clips, done.boxes, done.ends) == (["alpha"], 1, 0)
    (clip, *_) = read_manifest(str(example.folder / "m2.jsonl"), in_process=True).clips()
    x, y, w, h = seen(example, "alpha", "b")[15].box
    assert [(s.object_id, s.init_frame) for s in clip.objects] == [("a", None), ("b", 10), ("b", 15)]
    assert clip.objects[2].box == pytest.approx((x - 0.05 * 160, y, w, h), abs=1e-3)


def test_a_video_that_is_not_there_is_named(
    example: ExampleRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ExportOptions(example.output, str(tmp_path / "x"), "label-studio", videos=str(tmp_path))
    assert export_run(options) == 1
    assert "failed: clip alpha: its video cannot be read" in capsys.readouterr().err
