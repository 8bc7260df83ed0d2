"""Converters: tiny layouts as the data sets have them become tables that training reads."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from typer.testing import CliRunner

from model.training.__main__ import app
from model.training.convert import (
    ConvertError,
    convert_coco,
    convert_davis,
    convert_imagenet_vid,
    convert_service,
    convert_youtube_vos,
)
from model.training.convert.files import label_rows
from model.training.data.sources import find_sets, sequence_masks, sequence_pictures, sequence_rows
from model.training.data.training_store import Limits, write_store
from pipeline.output.schema import CLIPS, MASKS, clips_table


def quiet(done: int, total: int) -> None:
    assert 0 < done <= total


def labels(height: int = 60, width: int = 80, *, shift: int = 0) -> np.ndarray:
    """Two objects: 1 is 20x20 at (10 + shift, 5), 2 is 10x30 at (50, 20)."""
    out = np.zeros((height, width), np.uint8)
    out[5:25, 10 + shift : 30 + shift] = 1
    out[20:50, 50:60] = 2
    return out


def write_labels(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values, mode="P")
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0] + [0] * 759)
    image.save(path)


def write_picture(path: Path, height: int = 60, width: int = 80) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((height, width, 3), 90, np.uint8))


def davis(root: Path, year: int) -> Path:
    for name in ("bear", "camel"):
        for index in range(3):
            write_picture(root / "JPEGImages" / "480p" / name / f"{index:05d}.jpg")
            write_labels(root / "Annotations" / "480p" / name / f"{index:05d}.png", labels(shift=index))
    lists = root / "ImageSets" / ("480p" if year == 2016 else "2017")
    lists.mkdir(parents=True)
    for split, name in (("train", "bear"), ("val", "camel")):
        lines = [f"/JPEGImages/480p/{name}/{i:05d}.jpg /Annotations/480p/{name}/{i:05d}.png" for i in range(3)]
        (lists / f"{split}.txt").write_text("\n".join(lines if year == 2016 else [name]) + "\n")
    return root


@pytest.mark.parametrize(("year", "objects"), [(2016, {"1"}), (2017, {"1", "2"})])
def test_davis(tmp_path: Path, year: int, objects: set[str]) -> None:
    root = davis(tmp_path / "DAVIS", year)
    assert convert_davis(root, tmp_path / "tables", year=year, progress=quiet) == 2
    [row] = sequence_rows(tmp_path / "tables", "train")
    assert (row["sequence"], row["frames"], row["width"], row["height"]) == ("bear", 3, 80, 60)
    assert [row[side] for side in "xywh"] == [10, 5, 50, 45]
    masks = sequence_masks(tmp_path / "tables", "train")["bear"]
    assert set(masks) == {0, 1, 2}
    assert set(masks[2]) == objects
    wanted = labels(shift=2) > 0 if year == 2016 else labels(shift=2) == 1
    assert np.array_equal(masks[2]["1"] > 0, wanted)
    pictures = list(sequence_pictures(tmp_path / "tables", split="val"))
    assert [(one.group, one.frame, one.video) for one in pictures] == [("camel", index, True) for index in range(3)]
    assert pictures[0].pixels.shape == (60, 80, 3)


@pytest.mark.parametrize(("year", "hidden"), [(2016, {"1": [False, False, True]}), (2017, {"1": [False, False, True],
    "2": [False, True, True]})])  # fmt: skip
def test_an_object_out_of_sight_has_an_empty_mask(tmp_path: Path, year: int, hidden: dict[str, list[bool]]) -> None:
    root = davis(tmp_path / "DAVIS", year)
    folder = root / "Annotations" / "480p" / "bear"
    write_labels(folder / "00001.png", np.where(labels() == 2, 0, labels()))
    write_labels(folder / "00002.png", np.zeros_like(labels()))
    convert_davis(root, tmp_path / "tables", year=year, progress=quiet)
    masks = sequence_masks(tmp_path / "tables", "train")["bear"]
    assert {name: [not masks[index][name].any() for index in range(3)] for name in masks[0]} == hidden
    pictures = list(sequence_pictures(tmp_path / "tables"))
    assert write_store(pictures, tmp_path / "store", Limits(shortest_side=1, mean_side=1))[0] == 2


def test_a_picture_of_new_objects_alone_says_nothing_of_the_others() -> None:
    known: set[str] = set()
    one, two, none = (labels() * (labels() == 1), labels() * (labels() == 2), np.zeros_like(labels()))
    assert [(row["object_id"], row["area"]) for row in label_rows(one, known)] == [("1", 400)]
    assert [(row["object_id"], row["area"]) for row in label_rows(two, known)] == [("2", 300)]
    assert [(row["object_id"], row["area"]) for row in label_rows(two, known)] == [("1", 0), ("2", 300)]
    assert [(row["object_id"], row["area"]) for row in label_rows(none, known)] == [("1", 0), ("2", 0)]


def test_tables_beside_the_files_may_move_with_them(tmp_path: Path) -> None:
    root = davis(tmp_path / "DAVIS", 2017)
    convert_davis(root, root, year=2017, progress=quiet)
    root.rename(tmp_path / "elsewhere")
    assert len(list(sequence_pictures(tmp_path / "elsewhere"))) == 3


def test_youtube_vos(tmp_path: Path) -> None:
    for index in range(0, 15, 5):
        write_picture(tmp_path / "JPEGImages" / "0a1b" / f"{index:05d}.jpg")
    for index in (5, 10):
        write_labels(tmp_path / "Annotations" / "0a1b" / f"{index:05d}.png", labels())
    about = {"1": {"category": "penguin", "frames": ["00005"]}, "2": {"category": "dog", "frames": ["00005"]}}
    (tmp_path / "meta.json").write_text(json.dumps({"videos": {"0a1b": {"objects": about}}}))
    assert convert_youtube_vos(tmp_path, tmp_path, progress=quiet) == 1
    masks = sequence_masks(tmp_path, "train")["0a1b"]
    assert sorted(masks) == [1, 2]  # places among the video's pictures, not the numbers in their names
    assert set(masks[1]) == {"1", "2"}
    [row] = sequence_rows(tmp_path, "train")
    assert row["frames"] == 3


def test_coco(tmp_path: Path) -> None:
    write_picture(tmp_path / "images" / "7.jpg")
    outline = [10.0, 5.0, 30.0, 5.0, 30.0, 25.0, 10.0, 25.0]
    rle = coco_mask.encode(np.asfortranarray(labels() == 2, np.uint8))
    common = {"image_id": 7, "category_id": 3}
    annotations = [
        {"id": 1, **common, "segmentation": [outline], "bbox": [10, 5, 20, 20]},
        {"id": 2, **common, "segmentation": {"size": rle["size"], "counts": rle["counts"].decode()}},
        {"id": 3, **common, "bbox": [1, 2, 30, 40]},
        {"id": 4, **common, "iscrowd": 1, "segmentation": {"size": [60, 80], "counts": [4800]}},
    ]
    (tmp_path / "instances.json").write_text(
        json.dumps(
            {
                "images": [{"id": 7, "file_name": "7.jpg", "width": 80, "height": 60}],
                "annotations": annotations,
                "categories": [{"id": 3, "name": "cat"}],
            }
        )
    )
    assert convert_coco(tmp_path / "instances.json", tmp_path / "images", tmp_path / "out", progress=quiet) == 1
    [picture] = list(sequence_pictures(tmp_path / "out"))
    assert picture.objects == ("1", "2", "3")
    assert not picture.video
    assert np.array_equal(picture.masks[0] > 0, labels() == 1)
    assert np.array_equal(picture.masks[1] > 0, labels() == 2)
    assert picture.masks[2] is None
    assert picture.boxes[2] == (1, 2, 30, 40)


@pytest.mark.parametrize(
    ("picture", "outline", "message"),
    [
        ({}, [[]], "annotation 5 has an unusable segmentation"),
        ({}, [[1.0, 2.0]], "annotation 5 has an unusable segmentation"),
        ({}, {"size": [60, 80], "counts": "é"}, "annotation 5 has an unusable segmentation"),
        ({"width": None}, [[1.0, 2.0, 9.0, 2.0, 9.0, 9.0]], "picture 7.jpg has no width and height"),
    ],
)
def test_unusable_coco_is_named(tmp_path: Path, picture: dict, outline: object, message: str) -> None:
    write_picture(tmp_path / "7.jpg")
    about = {"id": 7, "file_name": "7.jpg", "width": 80, "height": 60, **picture}
    content = {"images": [about], "annotations": [{"id": 5, "image_id": 7, "segmentation": outline}]}
    (tmp_path / "instances.json").write_text(json.dumps(content))
    with pytest.raises(ConvertError, match=message):
        convert_coco(tmp_path / "instances.json", tmp_path, tmp_path / "out", progress=quiet)


def test_imagenet_vid_has_boxes_alone(tmp_path: Path) -> None:
    for index in range(2):
        write_picture(tmp_path / "Data/VID/train/set0/video1" / f"{index:06d}.JPEG")
        path = tmp_path / "Annotations/VID/train/set0/video1" / f"{index:06d}.xml"
        path.parent.mkdir(parents=True, exist_ok=True)
        box = f"<bndbox><xmax>{40 + index}</xmax><xmin>{10 + index}</xmin><ymax>50</ymax><ymin>20</ymin></bndbox>"
        one = f"<object><trackid>0</trackid><name>n02084071</name>{box}</object>"
        path.write_text(f"<annotation><folder>a</folder>{one}</annotation>")
    assert convert_imagenet_vid(tmp_path, tmp_path / "out", progress=quiet) == 1
    pictures = list(sequence_pictures(tmp_path / "out"))
    assert [one.group for one in pictures] == ["set0-video1"] * 2
    assert pictures[1].masks == (None,)
    assert pictures[1].boxes == ((11, 20, 30, 30),)


def service_run(folder: Path) -> Path:
    """Output tables with one good clip, one with corrupt frames and one that failed."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    about = {"video_uri": "clips/a.mp4", "corrupt_frames": 0, "end_frame": 2, "width": 80, "height": 60, "fps": 25.0}
    clips = [
        {"clip_id": "a", "status": "ok", "masks_part": "part-1.parquet", **about},
        {"clip_id": "b", "status": "ok", "masks_part": "part-1.parquet", **about, "corrupt_frames": 1},
        {"clip_id": "c", "status": "failed", "error_stage": "open", **about},
    ]
    found = coco_mask.encode(np.asfortranarray(labels() == 1, np.uint8))
    mask = {"size": [60, 80], "counts": found["counts"].decode()}
    common = {"object_id": "0", "mask": mask, "area": 400, "pts_s": 0.0}
    rows = [
        {"clip_id": name, "frame_index": index, "score": score, **common}
        for name in ("a", "b")
        for index, score in ((0, 1.0), (1, 0.3), (2, 0.9))
    ]
    for name, table in (("clips", clips_table(clips, CLIPS)), ("masks", pa.Table.from_pylist(rows, schema=MASKS))):
        (folder / name).mkdir(parents=True)
        pq.write_table(table, folder / name / "part-1.parquet")
    return folder


def test_the_services_own_output(tmp_path: Path) -> None:
    run = service_run(tmp_path / "run")
    (tmp_path / "videos" / "clips").mkdir(parents=True)
    (tmp_path / "videos" / "clips" / "a.mp4").write_bytes(b"")
    assert convert_service(run, tmp_path / "out", videos=tmp_path / "videos", progress=quiet) == 1
    [row] = sequence_rows(tmp_path / "out", "train")
    assert (tmp_path / "out" / row["video"]).resolve() == tmp_path / "videos" / "clips" / "a.mp4"
    masks = sequence_masks(tmp_path / "out", "train")["a"]
    assert sorted(masks) == [0, 2]  # the row with a low score is left out
    with pytest.raises(ConvertError, match="clip a: video clips/a.mp4 is relative; .*--videos"):
        convert_service(run, tmp_path / "out", videos=None, progress=quiet)


def test_a_missing_file_is_named_and_leaves_no_table(tmp_path: Path) -> None:
    root = davis(tmp_path / "DAVIS", 2017)
    missing = root / "Annotations" / "480p" / "camel" / "00000.png"
    missing.unlink()
    done = CliRunner().invoke(app, ["convert", "davis", str(root), "--year", "2017", "--out", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert str(missing) in done.output
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: (root / "JPEGImages/480p/bear/00000.jpg").write_text("no"), "bear/00000.jpg: is no readable"),
        (lambda root: (root / "Annotations/480p/bear/00001.png").write_text("no"), "bear/00001.png: is no readable"),
        (lambda root: write_labels(root / "Annotations/480p/bear/00001.png", labels(50)), "00001.png: is 80x50"),
        (lambda root: (root / "ImageSets/2017/train.txt").unlink(), "2017/train.txt: there is no such list"),
    ],
)
def test_damage_is_named(tmp_path: Path, damage: object, message: str) -> None:
    root = davis(tmp_path, 2017)
    damage(root)
    with pytest.raises(ConvertError, match=message):
        convert_davis(root, tmp_path / "out", year=2017, progress=quiet)


def test_the_command_converts_and_says_where(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["convert", "davis", str(davis(tmp_path, 2016))])
    assert done.exit_code == 0
    assert f"2 sequences in {tmp_path}/sequences.parquet" in done.output
    [found] = find_sets([tmp_path])
    assert found.table is None


