"""Exports of boxes and outlines, read back by the readers of labels and by the rules of their formats."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from pipeline.export.job import export_run
from pipeline.export.options import ExportOptions, Format
from pipeline.manifest_builder.formats.cvat import read_cvat
from pipeline.manifest_builder.formats.mot import read_mot
from pipeline.manifest_builder.label_files import find_labels
from pipeline.manifest_builder.label_formats import recognise
from tests.pipeline.example_run import CATEGORIES, ExampleRun, write_example


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> ExampleRun:
    return write_example(tmp_path_factory.mktemp("example"))


def exported(example: ExampleRun, folder: Path, name: Format) -> Path:
    assert export_run(ExportOptions(example.output, str(folder / name), name, category="thing")) == 0
    return folder / name


def test_cvat_by_the_reader_of_labels(example: ExampleRun, tmp_path: Path) -> None:
    folder = exported(example, tmp_path, "cvat")
    assert sorted(path.stem for path in folder.iterdir()) == ["alpha", "crowd", "cut", "odd"]
    (file,) = find_labels(str(folder / "alpha.xml"))
    assert recognise(file) == "cvat"
    (video,) = read_cvat(file, [])
    assert video.names[0] == "alpha.mkv"
    for labelled, object_id in zip(video.objects, "ab", strict=True):
        truth = {t.frame: t.box for t in example.of("alpha") if t.object_id == object_id}
        assert {box.frame: (box.x, box.y, box.w, box.h) for box in labelled.boxes} == truth
        assert labelled.category == CATEGORIES["alpha", object_id]
        assert labelled.ends == [12]  # the gap; the last tracked frame is the clip's last
    ids = {item.text for item in ElementTree.parse(folder / "odd.xml").iter("attribute") if item.get("name")}
    assert ids == {"007"}


def test_mot_by_the_reader_of_labels(example: ExampleRun, tmp_path: Path) -> None:
    folder = exported(example, tmp_path, "mot")
    (file,) = find_labels(str(folder / "odd" / "gt" / "gt.txt"))
    assert recognise(file) == "mot"
    (video,) = read_mot(file, [])
    truth = [((t.frame // 3), *t.box) for t in example.of("odd")]
    assert [(box.frame, box.x, box.y, box.w, box.h) for box in video.objects[0].boxes] == truth
    assert "seqLength=7" in (folder / "odd" / "seqinfo.ini").read_text()


@pytest.mark.parametrize("name", ["yolo-box", "yolo-seg"])
def test_yolo_by_the_rules_of_ultralytics(example: ExampleRun, tmp_path: Path, name: Format) -> None:
    """Every line: a class of data.yaml, then values from 0 to 1: four of a box, pairs of a segment."""
    folder = exported(example, tmp_path, name)
    classes = dict(re.findall(r'^  (\d+): "(.*)"$', (folder / "data.yaml").read_text(), re.MULTILINE))
    assert sorted(classes.values()) == ["boat", "gull", "person", "thing"]
    files = sorted((folder / "labels" / "train").iterdir())
    shown = {(t.clip_id, t.frame) for t in example.tracks if t.area}
    assert {path.name for path in files} == {f"{clip_id}_{frame:06d}.txt" for clip_id, frame in shown}
    for track in example.of("odd"):
        (line,) = (folder / "labels" / "train" / f"odd_{track.frame:06d}.txt").read_text().splitlines()
        label, *values = line.split()
        numbers = np.array(values, float)
        assert classes[label] == "thing" and ((numbers >= 0) & (numbers <= 1)).all()
        height, width = track.mask.shape
        if name == "yolo-box":
            x, y, w, h = numbers * (width, height, width, height)
            assert (x - w / 2, y - h / 2, w, h) == pytest.approx(track.box, abs=1e-3)
        else:
            assert len(numbers) % 2 == 0 and len(numbers) >= 6
            drawn = np.zeros((height, width), np.uint8)
            points = np.rint(numbers.reshape(-1, 2) * (width, height) - 0.5).astype(np.int32)
            cv2.fillPoly(drawn, [points], 1)
            assert np.array_equal(drawn.astype(bool), track.mask)
