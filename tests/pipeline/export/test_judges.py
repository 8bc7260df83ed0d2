"""Exports without pictures, opened by Datumaro, motmetrics and pycocotools: CVAT XML, MOT, polygons."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco
from pycocotools.coco import COCO

from pipeline.export.formats.outlines import outlines
from pipeline.export.job import export_run
from pipeline.export.options import ExportOptions, Format
from tests.pipeline.example_run import CATEGORIES, ExampleRun, write_example


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> ExampleRun:
    return write_example(tmp_path_factory.mktemp("example"))


def exported(example: ExampleRun, folder: Path, name: Format, *, polygons: bool = False) -> Path:
    options = ExportOptions(example.output, str(folder / name), name, category="thing", polygons=polygons)
    assert export_run(options) == 0
    return folder / name


def filled(points: list[float], shape: tuple[int, ...]) -> np.ndarray:
    """The pixels of a polygon through the centres of the outermost ones."""
    drawn = np.zeros(shape, np.uint8)
    cv2.fillPoly(drawn, [np.rint(np.array(points).reshape(-1, 2) - 0.5).astype(np.int32)], 1)
    return drawn.astype(bool)


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


def test_polygons_of_cvat_by_datumaro(example: ExampleRun, tmp_path: Path) -> None:
    import datumaro

    folder = exported(example, tmp_path, "cvat", polygons=True)
    for clip_id in example.videos:
        data = datumaro.Dataset.import_from(str(folder / f"{clip_id}.xml"), "cvat")
        truth = {(t.frame, t.object_id): t for t in example.of(clip_id) if t.area and not t.is_lost}
        for item in data:
            for shape in item.annotations:
                if shape.attributes["outside"]:
                    continue
                assert shape.type == datumaro.AnnotationType.polygon
                track = truth.pop((item.attributes["frame"], str(shape.attributes["object_id"])))
                assert np.array_equal(filled(shape.points, track.mask.shape), track.mask)
        assert not truth


def test_polygons_of_coco_by_pycocotools(example: ExampleRun, tmp_path: Path) -> None:
    folder = exported(example, tmp_path, "coco", polygons=True)
    with contextlib.redirect_stdout(io.StringIO()):
        data = COCO(str(folder / "annotations.json"))
    truth = {(t.clip_id, t.frame, t.object_id): t for t in example.tracks if t.area and not t.is_lost}
    for annotation in data.loadAnns(data.getAnnIds()):
        (image,) = data.loadImgs(annotation["image_id"])
        track = truth.pop((image["clip_id"], image["frame_index"], annotation["object_id"]))
        (polygon,) = annotation["segmentation"]
        assert np.array_equal(filled(polygon, track.mask.shape), track.mask)
        mask = data.annToMask(annotation).astype(bool)
        assert (mask & track.mask).sum() / (mask | track.mask).sum() > 0.85  # it leaves out half of the border
        assert annotation["area"] == track.area and tuple(annotation["bbox"]) == track.box
    assert not truth


def test_outlines_of_pieces_holes_and_thin_masks() -> None:
    mask = np.zeros((20, 30), np.uint8)
    mask[2:12, 3:15] = 1
    mask[5:8, 6:9] = 0  # a hole
    mask[14:18, 20:26] = 1
    mask[19, 0:5] = 1  # thin
    first, second = outlines(coco.encode(np.asfortranarray(mask)))
    assert first.min(axis=0).tolist() == [3.5, 2.5] and first.max(axis=0).tolist() == [14.5, 11.5]
    assert second.min(axis=0).tolist() == [20.5, 14.5] and second.max(axis=0).tolist() == [25.5, 17.5]
    mask[:19] = 0
    (box,) = outlines(coco.encode(np.asfortranarray(mask)))
    assert box.tolist() == [[0, 19], [5, 19], [5, 20], [0, 20]]


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
