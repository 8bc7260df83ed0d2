"""Exports without pictures, opened by the tools themselves: CVAT XML by Datumaro, MOT by motmetrics and Datumaro."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.export.job import export_run
from pipeline.export.options import ExportOptions, Format
from tests.pipeline.example_run import CATEGORIES, ExampleRun, write_example


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> ExampleRun:
    return write_example(tmp_path_factory.mktemp("example"))


def exported(example: ExampleRun, folder: Path, name: Format) -> Path:
    assert export_run(ExportOptions(example.output, str(folder / name), name, category="thing")) == 0
    return folder / name


def test_cvat_by_datumaro(example: ExampleRun, tmp_path: Path) -> None:
    import datumaro

    folder = exported(example, tmp_path, "cvat")
    for clip_id in example.videos:
        data = datumaro.Dataset.import_from(str(folder / f"{clip_id}.xml"), "cvat")
        labels = [label.name for label in data.categories()[datumaro.AnnotationType.label]]
        truth = {(t.frame, t.object_id): t for t in example.of(clip_id) if t.area and not t.is_lost}
        for item in data:
            for box in item.annotations:
                if box.attributes["outside"]:
                    continue
                track = truth.pop((item.attributes["frame"], str(box.attributes["object_id"])))
                assert tuple(box.get_bbox()) == pytest.approx(track.box, abs=0.01)
                assert labels[box.label] == CATEGORIES.get((clip_id, track.object_id), "thing")
        assert not truth


@pytest.mark.filterwarnings("ignore:Operation with tuple is deprecated")  # of motmetrics 1.4 with pandas 3
def test_mot_by_motmetrics_and_datumaro(example: ExampleRun, tmp_path: Path) -> None:
    import datumaro
    import motmetrics

    folder = exported(example, tmp_path, "mot")
    for clip_id in example.videos:
        tracks = [t for t in example.of(clip_id) if t.area and not t.is_lost]
        first, step = example.clips[clip_id]["start_frame"], 3 if clip_id == "odd" else 1
        numbers = {object_id: n for n, object_id in enumerate(sorted({t.object_id for t in tracks}), 1)}
        want = {((t.frame - first) // step + 1, numbers[t.object_id]): t.box for t in tracks}
        table = motmetrics.io.loadtxt(folder / clip_id / "gt" / "gt.txt", fmt="mot15-2D")
        read = {key: tuple(row) for key, *row in table[["X", "Y", "Width", "Height"]].itertuples(name=None)}
        assert read == {key: pytest.approx(box, abs=0.01) for key, box in want.items()}

        data = datumaro.Dataset.import_from(str(folder / clip_id), "mot_seq")
        frames = range(first, example.clips[clip_id]["end_frame"], step)
        assert sorted(int(item.id) for item in data) == list(range(1, len(frames) + 1))
        boxes = {(int(i.id), a.attributes["track_id"]): tuple(a.get_bbox()) for i in data for a in i.annotations}
        # It counts pixels from 0 where the challenge counts from 1.
        assert boxes == {key: pytest.approx((x + 1, y + 1, w, h), abs=0.01) for key, (x, y, w, h) in want.items()}
