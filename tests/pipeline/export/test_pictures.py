"""Exports with their frames, opened by the tools that take them: Datumaro, supervision, Ultralytics' rules."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import yaml
from PIL import Image

from pipeline.errors import UsageError
from pipeline.export.job import export_run
from pipeline.export.options import PICTURES, ExportOptions, Format
from pipeline.export.pictures import write_pictures
from pipeline.export.sink import Sink
from pipeline.reading.options import ClipSelection
from tests.pipeline.example_run import CATEGORIES, ExampleRun, Track, write_example

UNDECODED = ("alpha", 12)


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> ExampleRun:
    return write_example(tmp_path_factory.mktemp("example"))


@pytest.fixture(scope="module")
def exported(example: ExampleRun, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every format that has pictures, of the whole run with its lost rows."""
    folder = tmp_path_factory.mktemp("exported")
    for name in PICTURES:
        options = ExportOptions(
            example.output, str(folder / name), name, category="thing", include_lost=True, images=True
        )
        assert export_run(options) == 0
    return {path.name: path for path in folder.iterdir()}


@pytest.fixture(scope="module")
def sources(example: ExampleRun) -> dict[str, list[np.ndarray]]:
    """All frames of the videos, as PyAV has them."""
    frames = {}
    for clip_id, path in example.videos.items():
        with av.open(str(path)) as container:
            frames[clip_id] = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return frames


def shown(example: ExampleRun) -> dict[tuple[str, int], list[Track]]:
    """The tracks with pixels, by clip and frame."""
    found: dict[tuple[str, int], list[Track]] = {}
    for track in example.tracks:
        if track.area:
            found.setdefault((track.clip_id, track.frame), []).append(track)
    return found


def frame_of(picture: np.ndarray, frames: list[np.ndarray]) -> int:
    """Which frame of a video a picture is nearest to."""
    return int(np.argmin([np.abs(picture.astype(int) - frame).mean() for frame in frames]))


@pytest.mark.parametrize("name", ["davis", "mot", "mots", "vot", "youtube-vis"])
def test_pictures_of_sequences_are_those_of_the_frames(
    exported: dict[str, Path], sources: dict[str, list[np.ndarray]], name: Format
) -> None:
    tracked = {"alpha": range(4, 28), "crowd": range(8), "cut": range(10), "odd": range(0, 20, 3)}
    want = {
        PICTURES[name].format(clip_id=clip_id, frame=frame, number=number): (clip_id, frame)
        for clip_id, frames in tracked.items()
        for number, frame in enumerate(frames, 1)
    }
    folder = exported[name]
    assert {str(path.relative_to(folder)) for path in folder.rglob("*.jpg")} == set(want)
    for file, (clip_id, frame) in want.items():
        assert frame_of(np.array(Image.open(folder / file)), sources[clip_id]) == frame, file


def test_coco_by_datumaro_and_supervision(
    exported: dict[str, Path], example: ExampleRun, sources: dict[str, list[np.ndarray]]
) -> None:
    import datumaro
    import supervision

    folder, truth = exported["coco"], shown(example)
    assert datumaro.Environment().detect_dataset(str(folder)) == ["coco_instances"]
    data = datumaro.Dataset.import_from(str(folder), "coco")
    labels = [label.name for label in data.categories()[datumaro.AnnotationType.label]]
    assert {tuple(item.id.split("/")) for item in data} == {(clip_id, f"{frame:05d}") for clip_id, frame in truth}
    for item in data:
        clip_id, frame = item.id.split("/")[0], int(item.id.split("/")[1])
        assert item.subset == "train"
        assert frame_of(item.media.data[..., ::-1], sources[clip_id]) == frame
        masks = [a for a in item.annotations if a.type == datumaro.AnnotationType.mask]
        assert len(masks) == len(truth[clip_id, frame])
        for mask in masks:
            (track,) = [t for t in truth[clip_id, frame] if np.array_equal(t.mask, mask.image)]
            assert labels[mask.label] == CATEGORIES.get((clip_id, track.object_id), "thing")

    images, annotations = folder / "images" / "train", folder / "annotations" / "instances_train.json"
    detections = supervision.DetectionDataset.from_coco(str(images), str(annotations), force_masks=True)
    assert len(detections) == len(truth)
    for path, _, found in detections:
        key = Path(path).parent.name, int(Path(path).stem)
        assert np.array_equal(found.mask, [t.mask for t in truth[key]])
        assert [detections.classes[i] for i in found.class_id] == [
            CATEGORIES.get((key[0], t.object_id), "thing") for t in truth[key]
        ]


@pytest.mark.parametrize("name", ["yolo-box", "yolo-seg"])
def test_yolo_by_supervision_and_datumaro(
    exported: dict[str, Path], example: ExampleRun, sources: dict[str, list[np.ndarray]], name: Format
) -> None:
    import datumaro
    import supervision

    folder, truth = exported[name], shown(example)
    images, labels = folder / "images" / "train", folder / "labels" / "train"
    detections = supervision.DetectionDataset.from_yolo(
        str(images), str(labels), str(folder / "data.yaml"), force_masks=name == "yolo-seg"
    )
    assert len(detections) == len(truth)
    for path, picture, found in detections:
        clip_id, frame = Path(path).stem.rsplit("_", 1)[0], int(Path(path).stem.rsplit("_", 1)[1])
        assert frame_of(picture[..., ::-1], sources[clip_id]) == frame
        tracks = truth[clip_id, frame]
        boxes = [(x, y, x + w, y + h) for x, y, w, h in (t.box for t in tracks)]
        assert np.allclose(found.xyxy, boxes, atol=1e-3 if name == "yolo-box" else 0.51)
        assert [detections.classes[i] for i in found.class_id] == [
            CATEGORIES.get((clip_id, t.object_id), "thing") for t in tracks
        ]
        if name == "yolo-seg":
            overlaps = [(a & t.mask).sum() / (a | t.mask).sum() for a, t in zip(found.mask, tracks, strict=True)]
            assert min(overlaps) > 0.85, (path, overlaps)
    if name == "yolo-box":  # Datumaro's reader takes no segments
        data = datumaro.Dataset.import_from(str(folder), "yolo")
        read = {(i.id, tuple(a.get_bbox())) for i in data for a in i.annotations if i.media.data is not None}
        assert len(data) == len(truth)
        assert read == {(f"{t.clip_id}_{t.frame:06d}", t.box) for tracks in truth.values() for t in tracks}


@pytest.mark.parametrize("name", ["yolo-box", "yolo-seg"])
def test_yolo_by_the_rules_of_ultralytics(exported: dict[str, Path], name: Format) -> None:
    """What its check asks for: splits seen from data.yaml, a label beside each picture, values in range."""
    folder = exported[name]
    described = yaml.safe_load((folder / "data.yaml").read_text())
    assert "path" not in described and sorted(described["names"]) == list(range(len(described["names"])))
    for split in ("train", "val"):
        pictures = sorted((folder / described[split]).glob("*.jpg"))
        assert pictures
        for picture in pictures:
            with Image.open(picture) as opened:
                opened.verify()
                assert min(opened.size) > 9 and opened.format == "JPEG"
            assert picture.read_bytes().endswith(b"\xff\xd9")
            label = Path("/labels/".join(str(picture).rsplit("/images/", 1))).with_suffix(".txt")
            lines = [line.split() for line in label.read_text().splitlines()]
            assert lines and len({tuple(line) for line in lines}) == len(lines)
            for number, *values in lines:
                assert int(number) in described["names"]
                assert all(0 <= float(value) <= 1 for value in values)
                assert len(values) == 4 if name == "yolo-box" else len(values) >= 6 and len(values) % 2 == 0


def test_clips_are_split_as_a_whole(example: ExampleRun, tmp_path: Path) -> None:
    for name in ("yolo-box", "coco"):
        options = ExportOptions(example.output, str(tmp_path / name), name, images=True, val=0.3)  # type: ignore[arg-type]
        assert export_run(options) == 0
    described = yaml.safe_load((tmp_path / "yolo-box" / "data.yaml").read_text())
    assert (described["train"], described["val"]) == ("images/train", "images/val")
    clips = {}
    for split in ("train", "val"):
        folder = tmp_path / "yolo-box"
        labels, pictures = ({path.stem for path in (folder / k / split).iterdir()} for k in ("labels", "images"))
        document = json.loads((tmp_path / f"coco/annotations/instances_{split}.json").read_text())
        assert all((tmp_path / "coco/images" / split / image["file_name"]).is_file() for image in document["images"])
        clips[split] = {image["clip_id"] for image in document["images"]}
        assert labels == pictures and {stem.rsplit("_", 1)[0] for stem in labels} == clips[split]
        assert len(document["categories"]) == 4
    assert len(clips["val"]) == 1 and clips["train"] | clips["val"] == set(example.videos)
    assert not clips["train"] & clips["val"]


def test_all_frames_take_those_without_objects_too(example: ExampleRun, tmp_path: Path) -> None:
    chosen = ClipSelection(clips=("alpha",))
    options = ExportOptions(example.output, str(tmp_path / "x"), "coco", chosen, images=True, all_frames=True)
    assert export_run(options) == 0
    document = json.loads((tmp_path / "x/annotations/instances_train.json").read_text())
    assert [image["frame_index"] for image in document["images"]] == list(range(4, 28))
    used = {annotation["image_id"] for annotation in document["annotations"]}
    assert [i["frame_index"] for i in document["images"] if i["id"] not in used] == [UNDECODED[1]]


def test_a_frame_that_does_not_decode_is_no_frame_of_a_sequence(
    example: ExampleRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.export import pictures

    whole = pictures.source_frames
    monkeypatch.setattr(
        pictures, "source_frames", lambda *a, **k: (f for f in whole(*a, **k) if f.index != UNDECODED[1])
    )
    chosen = ClipSelection(clips=("alpha",))
    for name in ("mot", "youtube-vis"):
        options = ExportOptions(example.output, str(tmp_path / name), name, chosen, images=True)  # type: ignore[arg-type]
        assert export_run(options) == 0
    frames = [frame for frame in range(4, 28) if frame != UNDECODED[1]]
    lines = [line.split(",") for line in (tmp_path / "mot/alpha/gt/gt.txt").read_text().splitlines()]
    assert [frames[int(line[0]) - 1] for line in lines if line[1] == "1"] == frames
    assert "seqLength=23" in (tmp_path / "mot/alpha/seqinfo.ini").read_text()
    assert sorted(int(path.stem) for path in (tmp_path / "mot/alpha/img1").iterdir()) == list(range(1, 24))
    (clip,) = json.loads((tmp_path / "mot/clips.json").read_text())["clips"]
    assert clip["frames"] == frames
    (video,) = json.loads((tmp_path / "youtube-vis/annotations.json").read_text())["videos"]
    assert video["length"] == 23 and video["file_names"] == [f"alpha/{frame:05d}.jpg" for frame in frames]


def test_a_video_that_is_not_there_or_another_leaves_nothing(
    example: ExampleRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    videos = tmp_path / "other" / "videos"
    videos.mkdir(parents=True)
    (videos / "alpha.mkv").symlink_to(example.videos["crowd"])
    (videos / "odd.mkv").symlink_to(example.videos["odd"])
    options = ExportOptions(example.output, str(tmp_path / "x"), "yolo-box", images=True, videos=str(videos.parent))
    assert export_run(options) == 0
    said = capsys.readouterr()
    assert "failed: clip alpha, frame 4: its video has 128x96 pixels, tracked were 160x96" in said.err
    assert "failed: clip crowd: its video does not decode" in said.err
    assert said.out.startswith("4 clips: 1 exported, 3 failed")
    assert {path.name.split("_")[0] for path in (tmp_path / "x").rglob("*_*")} == {"odd"}
    assert export_run(replace(options, output=str(tmp_path / "y"), strict=True)) == 3


def test_pictures_are_held_a_few_at_a_time(example: ExampleRun, tmp_path: Path) -> None:
    from pipeline import open_run
    from pipeline.export.export_clip import each_clip

    most = 0

    class Counting(Sink):
        def put(self, files: dict[str, bytes]) -> None:  # type: ignore[override]
            nonlocal most
            most = max(most, len(files))
            super().put(files)

    options = ExportOptions(example.output, str(tmp_path / "x"), "davis", images=True)
    (clip,) = each_clip(open_run(example.output), ["alpha"])
    with Counting(options.output) as sink:
        assert write_pictures(sink, clip, options).pictured == tuple(range(4, 28))
    assert most == 16


def test_options_that_do_not_go_together(example: ExampleRun, tmp_path: Path) -> None:
    run = example.output
    single = ClipSelection(clips=("odd",))
    for make, message in (
        (lambda: ExportOptions(run, "x", "cvat", images=True), "--images: cvat has no pictures"),
        (lambda: ExportOptions(run, "x", "davis", val=0.2), "--val: only for the formats coco"),
        (lambda: ExportOptions(run, "x", "davis", polygons=True), "--polygons: only for the formats coco, cvat"),
        (lambda: ExportOptions(run, "x", "coco", val=1.0), "--val 1.0: expected a fraction"),
        (lambda: ExportOptions(run, "x", "coco", all_frames=True), "--all-frames: only with --images"),
        (lambda: export_run(ExportOptions(run, str(tmp_path / "x"), "coco", single, val=0.5)), "only one clip"),
    ):
        with pytest.raises(UsageError, match=message):
            make()
