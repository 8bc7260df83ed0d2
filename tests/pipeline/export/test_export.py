"""Exports, read back by the formats' own tools: pycocotools, TrackEval, vot-toolkit, Pillow."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco
from pycocotools.coco import COCO

from pipeline import storage
from pipeline.errors import UsageError
from pipeline.export.formats.davis import palette
from pipeline.export.job import export_run
from pipeline.export.options import ExportOptions, Format, Region
from pipeline.reading.options import ClipSelection
from tests.conftest import S3Store
from tests.pipeline.example_run import CATEGORIES, ExampleRun, Track, write_example
from tests.pipeline.export.many_clips import write_many

FRAMES = {"alpha": range(4, 28), "crowd": range(8), "cut": range(10), "odd": range(0, 20, 3)}
SIZES = {"alpha": (96, 160), "crowd": (96, 128), "cut": (96, 128), "odd": (75, 101)}


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> ExampleRun:
    return write_example(tmp_path_factory.mktemp("example"))


@pytest.fixture(scope="module")
def exported(example: ExampleRun, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every format of the whole run with its lost rows, YOLO with pictures; VOT by region."""
    folder = tmp_path_factory.mktemp("exported")
    formats: list[Format] = ["coco", "davis", "mots", "yolo-seg", "youtube-vis"]
    regions: list[Region] = ["polygon", "rectangle", "mask"]
    for name in formats:
        more = {"include_lost": True, "images": name == "yolo-seg"}
        assert export_run(ExportOptions(example.output, str(folder / name), name, category="thing", **more)) == 0
    for region in regions:
        options = ExportOptions(example.output, str(folder / region), "vot", region=region, include_lost=True)
        assert export_run(options) == 0
    return {path.name: path for path in folder.iterdir()}


def in_front(example: ExampleRun, clip_id: str, frame: int) -> np.ndarray:
    """Object number by pixel: the highest presence wins, then the highest score, of equal ones the first id."""
    objects = sorted({t.object_id for t in example.of(clip_id)})
    labels = np.zeros(SIZES[clip_id], int)
    best = np.full(SIZES[clip_id], -1.0)
    for track in sorted((t for t in example.of(clip_id) if t.frame == frame), key=lambda t: t.object_id):
        likelihood = 10 * track.presence + np.float32(track.score)
        wins = track.mask & (likelihood > best)
        labels[wins], best[wins] = objects.index(track.object_id) + 1, likelihood
    return labels


def test_coco_by_pycocotools(exported: dict[str, Path], example: ExampleRun) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        data = COCO(str(exported["coco"] / "annotations.json"))
    images = data.loadImgs(data.getImgIds())
    want = [(clip_id, frame) for clip_id in FRAMES for frame in FRAMES[clip_id]]
    assert sorted((i["clip_id"], i["frame_index"]) for i in images) == want
    assert {i["file_name"] for i in images if i["clip_id"] == "odd"} >= {"odd/00000.jpg", "odd/00018.jpg"}
    assert all((i["height"], i["width"]) == SIZES[i["clip_id"]] for i in images)
    categories = {c["id"]: c["name"] for c in data.loadCats(data.getCatIds())}
    assert sorted(categories.values()) == ["boat", "gull", "person", "thing"]
    truth = {(t.clip_id, t.object_id, t.frame): t for t in example.tracks if t.area}
    assert len(data.getAnnIds()) == len(truth)
    tracks: dict[int, tuple[str, str]] = {}
    for image in images:
        for annotation in data.loadAnns(data.getAnnIds(imgIds=image["id"])):
            track = truth.pop((image["clip_id"], annotation["object_id"], image["frame_index"]))
            assert np.array_equal(data.annToMask(annotation), track.mask)
            assert annotation["area"] == track.area and tuple(annotation["bbox"]) == track.box
            assert annotation["score"] == pytest.approx(track.score)
            name = (track.clip_id, track.object_id)
            assert categories[annotation["category_id"]] == CATEGORIES.get(name, "thing")
            assert tracks.setdefault(annotation["track_id"], name) == name
    assert not truth and len(tracks) == 7


def test_youtube_vis_by_trackeval(exported: dict[str, Path], example: ExampleRun, tmp_path: Path) -> None:
    from trackeval.datasets import YouTubeVIS

    labels, results = (
        json.loads((exported["youtube-vis"] / f"{n}.json").read_text()) for n in ("annotations", "results")
    )
    for folder, value in (("gt", labels), ("trackers/ours/data", results)):
        place = (
            tmp_path / folder.replace("/", "/youtube_vis_all/", 1) if "/" in folder else tmp_path / "gt/youtube_vis_all"
        )
        place.mkdir(parents=True)
        (place / "x.json").write_text(json.dumps(value))
    asked = {"GT_FOLDER": f"{tmp_path}/gt/", "TRACKERS_FOLDER": f"{tmp_path}/trackers/", "SPLIT_TO_EVAL": "all"}
    data = YouTubeVIS({**asked, "PRINT_CONFIG": False})
    assert sorted(data.seq_list) == sorted(FRAMES)
    for clip_id, frames in FRAMES.items():
        raw = data.get_raw_seq_data("ours", clip_id)
        assert raw["num_timesteps"] == len(frames)
        for time, frame in enumerate(frames):
            tracks = [t for t in example.of(clip_id) if t.frame == frame and t.area]
            for side in ("gt_dets", "tracker_dets"):
                masks = [coco.decode(mask).astype(bool) for mask in raw[side][time]]
                assert np.array_equal(masks, [t.mask for t in tracks] or masks) and len(masks) == len(tracks)
            assert np.array_equal(np.diag(raw["similarity_scores"][time]), np.ones(len(tracks)))
    by_object = {(a["video_id"], a["object_id"]): a for a in labels["annotations"]}
    (late,) = [a for (_, object_id), a in by_object.items() if object_id == "b"]
    assert late["segmentations"][5] is None and late["bboxes"][5] is None and late["areas"][6] > 0
    mean = np.mean([t.score for t in example.of("alpha") if t.object_id == "b"])
    assert late["score"] == pytest.approx(mean)


def test_davis_by_pillow_and_trackeval(exported: dict[str, Path], example: ExampleRun, tmp_path: Path) -> None:
    from trackeval.datasets import DAVIS

    folder = exported["davis"] / "Annotations"
    for clip_id, frames in FRAMES.items():
        names = [f"{frame:05d}.png" for frame in frames]
        assert sorted(path.name for path in (folder / clip_id).iterdir()) == names
        for frame, name in zip(frames, names, strict=True):
            picture = Image.open(folder / clip_id / name)
            assert picture.mode == "P" and picture.getpalette()[:12] == [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]
            assert np.array_equal(np.array(picture), in_front(example, clip_id, frame))
    overlapping = [
        f
        for f in FRAMES["crowd"]
        if sum(t.area for t in example.of("crowd") if t.frame == f) > (in_front(example, "crowd", f) > 0).sum()
    ]
    assert len(overlapping) == 8
    described = json.loads((exported["davis"] / "clips.json").read_text())["clips"]
    assert {c["clip_id"]: c["objects"] for c in described}["alpha"] == ["a", "b"]
    assert {c["clip_id"]: c["stride"] for c in described}["odd"] == 3

    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "data").symlink_to(folder)
    data = DAVIS({"GT_FOLDER": str(folder), "TRACKERS_FOLDER": str(tmp_path), "PRINT_CONFIG": False})
    raw = data.get_raw_seq_data("ours", "crowd")
    assert [list(ids) for ids in raw["gt_ids"]] == [
        list(np.unique(in_front(example, "crowd", f))[1:]) for f in range(8)
    ]


def test_davis_palette_is_pascal_vocs() -> None:
    colours = np.array(palette()).reshape(256, 3).tolist()
    named = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 3: (128, 128, 0), 4: (0, 0, 128), 7: (128, 128, 128)}
    named |= {8: (64, 0, 0), 15: (192, 128, 128), 20: (0, 64, 128), 255: (224, 224, 192)}
    assert {value: tuple(colours[value]) for value in named} == named
    assert len(set(map(tuple, colours))) == 256


def test_mots_by_trackeval(exported: dict[str, Path], example: ExampleRun, tmp_path: Path) -> None:
    from trackeval.datasets import MOTSChallenge

    folder = exported["mots"]
    (tmp_path / "ours").symlink_to(folder)
    data = MOTSChallenge(
        {
            "GT_FOLDER": str(folder),
            "TRACKERS_FOLDER": str(tmp_path),
            "SEQMAP_FILE": str(folder / "seqmap.txt"),
            "GT_LOC_FORMAT": "{gt_folder}/data/{seq}.txt",
            "SKIP_SPLIT_FOL": True,
            "PRINT_CONFIG": False,
        }
    )
    assert data.seq_lengths == {clip_id: len(frames) for clip_id, frames in FRAMES.items()}
    for clip_id, frames in FRAMES.items():
        raw = data.get_raw_seq_data("ours", clip_id)  # refuses masks that overlap
        for time, frame in enumerate(frames):
            want = in_front(example, clip_id, frame)
            labels = np.zeros_like(want)
            for number, mask in zip(raw["tracker_ids"][time], raw["tracker_dets"][time], strict=True):
                labels[coco.decode(mask).astype(bool)] = number - 2000
            assert np.array_equal(labels, want), (clip_id, frame)
            assert (raw["tracker_classes"][time] == 2).all()


@pytest.mark.parametrize("region", ["polygon", "rectangle", "mask"])
def test_vot_by_its_toolkit(exported: dict[str, Path], example: ExampleRun, region: str) -> None:
    from vot.dataset.common import list_sequences, read_sequence
    from vot.region import RegionType
    from vot.tracker import Results, Trajectory
    from vot.workspace.storage import LocalStorage

    folder = exported[region]
    assert sorted(list_sequences(str(folder / "sequences"))) == sorted(FRAMES)
    for clip_id, frames in FRAMES.items():
        sequence = read_sequence(str(folder / "sequences" / clip_id))
        assert len(sequence) == len(frames)
        assert (sequence.metadata("height"), sequence.metadata("width")) == SIZES[clip_id]
        objects = sorted({t.object_id for t in example.of(clip_id)})
        assert sorted(sequence.objects()) == (objects if len(objects) > 1 else ["object"])
        results = Results(LocalStorage(str(folder / "results" / clip_id)))
        for object_id in objects:
            rows = {t.frame: t for t in example.of(clip_id) if t.object_id == object_id}
            ending, name = (f"_{object_id}", object_id) if len(objects) > 1 else ("", "object")
            trajectory = Trajectory.read(results, f"{clip_id}{ending}_001")
            assert len(trajectory) == len(frames)
            for time, frame in enumerate(frames):
                found = trajectory.region(time), sequence.object(name, time)
                if frame not in rows:
                    assert [r.code for r in found] == [Trajectory.UNKNOWN] * 2
                    continue
                if frame == min(rows):
                    assert found[0].code == Trajectory.INITIALIZATION
                    assert found[1].type != RegionType.SPECIAL
                else:
                    assert trajectory.properties(time)["confidence"] == pytest.approx(rows[frame].score, abs=1e-5)
                    check_region(found[0], rows[frame], region)
                check_region(found[1], rows[frame], region)


def check_region(found: Any, track: Track, region: str) -> None:
    if region == "polygon":
        assert np.allclose(np.array(found.points()).ravel(), track.corners, atol=1e-4)
    elif region == "rectangle":
        assert np.allclose([found.x, found.y, found.width, found.height], track.box, atol=1e-4)
    elif track.area:
        height, width = track.mask.shape
        assert np.array_equal(found.rasterize((0, 0, width - 1, height - 1)).astype(bool), track.mask)
    else:
        assert found.is_empty()


def test_to_and_from_s3_is_the_same(exported: dict[str, Path], example: ExampleRun, s3_store: S3Store) -> None:
    run = example.upload(s3_store.uri("export"))
    for name in ("mots", "yolo-seg", "youtube-vis"):
        output = s3_store.uri(f"exported/{name}")
        more = {"include_lost": True, "images": name == "yolo-seg"}
        assert export_run(ExportOptions(run, output, name, category="thing", **more)) == 0  # type: ignore[arg-type]
        found = {entry.uri.removeprefix(output + "/"): entry for entry in storage.list_files(output)}
        local = {str(path.relative_to(exported[name])): path for path in exported[name].rglob("*") if path.is_file()}
        assert sorted(found) == sorted(local)
        for file, entry in found.items():
            assert storage.read_bytes(entry.uri) == local[file].read_bytes(), file


def test_lost_rows_are_left_out_and_their_frames_stay(example: ExampleRun, tmp_path: Path) -> None:
    only = ClipSelection(clips=("crowd",))
    for name in ("coco", "davis", "mots", "vot", "youtube-vis"):
        assert export_run(ExportOptions(example.output, str(tmp_path / name), name, only)) == 0  # type: ignore[arg-type]
    coco_json = json.loads((tmp_path / "coco" / "annotations.json").read_text())
    frame_of = {image["id"]: image["frame_index"] for image in coco_json["images"]}
    shown = sorted(frame_of[a["image_id"]] for a in coco_json["annotations"] if a["object_id"] == "z")
    assert len(frame_of) == 8 and shown == [0, 1, 2, 5, 6, 7]
    values = [np.unique(Image.open(tmp_path / "davis/Annotations/crowd" / f"{frame:05d}.png")) for frame in range(8)]
    assert [3 in found for found in values] == [True] * 3 + [False] * 2 + [True] * 3
    lines = [line.split() for line in (tmp_path / "mots/data/crowd.txt").read_text().splitlines()]
    assert {int(line[0]) for line in lines if line[1] == "2003"} == {1, 2, 3, 6, 7, 8}
    truth = (tmp_path / "vot/sequences/crowd/groundtruth_z.txt").read_text().splitlines()
    assert [line == "0" for line in truth] == [False] * 3 + [True] * 2 + [False] * 3
    (z,) = [a for a in json.loads((tmp_path / "youtube-vis/annotations.json").read_text())["annotations"]
            if a["object_id"] == "z"]  # fmt: skip
    assert [mask is None for mask in z["segmentations"]] == [False] * 3 + [True] * 2 + [False] * 3


def test_the_end_line_counts(example: ExampleRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = ClipSelection(clips=("alpha", "lost"))
    assert export_run(ExportOptions(example.output, str(tmp_path / "x"), "coco", chosen)) == 0
    end = f"2 clips: 1 exported, 0 failed, 1 without masks; 24 frames in {tmp_path / 'x'}\n"
    assert capsys.readouterr().out == end
    only = ClipSelection(clips=("lost",))
    assert export_run(ExportOptions(example.output, str(tmp_path / "y"), "coco", only)) == 1


def test_clips_that_do_not_fit_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_many(tmp_path / "run", clips=2, objects=255, frames=1)
    selection = ClipSelection(match="c000*")
    options = ExportOptions(str(tmp_path / "run"), str(tmp_path / "x"), "davis", selection, strict=True)
    assert export_run(options) == 1
    assert "failed: clip c0000: it has 255 objects, a DAVIS picture holds 254" in capsys.readouterr().err


def test_what_is_unusable_is_said_before_the_work(example: ExampleRun, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    run = example.output
    for make, message in (
        (lambda: ExportOptions(run, "x", "tiff"), "--format tiff: expected one of coco, cvat, davis"),  # type: ignore[arg-type]
        (lambda: ExportOptions(run, "x", "vot", region="dot"), "--region dot"),  # type: ignore[arg-type]
        (lambda: ExportOptions(run, "x", "mots", mots_class=3), "--mots-class 3"),
        (lambda: export_run(ExportOptions(run, str(tmp_path / "full"), "coco")), "holds files already .notes.txt"),
        (lambda: export_run(ExportOptions(str(tmp_path), str(tmp_path / "x"), "coco")), "holds no run"),
    ):
        with pytest.raises(UsageError, match=message):
            make()
    assert [path.name for path in tmp_path.iterdir()] == ["full"]
