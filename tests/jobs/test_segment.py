"""The main job on real, small videos: from a manifest to the two tables."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from pycocotools import mask as coco

from model.network import SiamMask, SiamMaskConfig
from model.weights import save_weights
from pipeline.demo.corpus import Corpus, write_corpus
from pipeline.options import SegmentOptions, UsageError
from pipeline.run import run
from pipeline.tables import CLIPS, MASKS
from tests.conftest import ROOT, S3Store


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small network of random weights: it tracks nothing, but the same nothing every time."""
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    metadata = {"name": "random", "licence": "none needed", "tracker": {"preset": "vot"}}
    save_weights(path, SiamMask(SiamMaskConfig("resnet18")), metadata=metadata)
    return str(path)


@pytest.fixture(scope="module")
def finished(ray_local: None, corpus: Corpus, weights: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of one plain run over the demo corpus."""
    output = tmp_path_factory.mktemp("run") / "out"
    assert run(SegmentOptions(str(corpus.manifest), str(output), weights=weights)) == 0
    return output


def _clips(output: str | Path) -> list[dict[str, Any]]:
    return pq.read_table(f"{output}/clips").sort_by("clip_id").to_pylist()


def _masks(output: str | Path) -> list[dict[str, Any]]:
    table = pq.read_table(f"{output}/masks")
    return table.sort_by([(name, "ascending") for name in ("clip_id", "object_id", "frame_index")]).to_pylist()


def _write(path: Path, clips: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(clip) + "\n" for clip in clips))
    return str(path)


def _entries(corpus: Corpus) -> list[dict[str, Any]]:
    clips = [json.loads(line) for line in corpus.manifest.read_text().splitlines()]
    return [{**clip, "video_uri": str(corpus.manifest.parent / clip["video_uri"])} for clip in clips]


def test_every_object_has_a_row_in_every_frame(finished: Path, corpus: Corpus) -> None:
    truth = pq.read_table(corpus.truth).to_pylist()
    want = Counter((row["clip_id"], row["object_id"]) for row in truth)
    rows = _masks(finished)
    assert Counter((row["clip_id"], row["object_id"]) for row in rows) == want
    assert sum(want.values()) > corpus.frames  # a clip has two objects
    clips = _clips(finished)
    assert [clip["status"] for clip in clips] == ["ok"] * len(corpus.videos)
    assert sum(clip["frames"] for clip in clips) == corpus.frames
    assert all(clip["model"] == "random" and clip["decoder"] == "decord" for clip in clips)


def test_the_first_row_of_an_object_is_the_box_given(finished: Path, corpus: Corpus) -> None:
    given = {(clip["clip_id"], item["object_id"]): item["box"] for clip in _entries(corpus) for item in clip["objects"]}
    first = [row for row in _masks(finished) if row["frame_index"] == 0]
    assert len(first) == len(given)
    for row in first:
        np.testing.assert_allclose(list(row["bbox"].values()), given[row["clip_id"], row["object_id"]], rtol=1e-6)
        assert (row["score"], row["pts_s"]) == (1.0, 0.0)


def test_tables_have_the_documented_schema_and_read_with_a_plain_glob(finished: Path) -> None:
    for name, schema in (("masks", MASKS), ("clips", CLIPS)):
        for part in (finished / name).glob("*.parquet"):
            assert pq.read_schema(part).equals(schema)
        rows = duckdb.sql(f"SELECT count(*) FROM '{finished}/{name}/*.parquet'").fetchall()[0][0]
        assert rows == pl.read_parquet(f"{finished}/{name}/*.parquet").height > 0
    row = _masks(finished)[5]
    mask = coco.decode({"size": row["mask"]["size"], "counts": row["mask"]["counts"].encode()})
    assert mask.shape == (360, 640)
    assert int(mask.sum()) == row["area"]
    joined = duckdb.sql(
        f"SELECT count(*) FROM '{finished}/masks/*.parquet' m JOIN '{finished}/clips/*.parquet' c USING (clip_id) "
        "WHERE c.masks_part IS NULL OR c.status = 'failed'"
    ).fetchall()
    assert joined == [(0,)]


def test_a_run_leaves_config_and_report(finished: Path) -> None:
    (folder,) = [path for path in (finished / "_runs").iterdir() if path.is_dir()]
    assert sorted(path.name for path in folder.iterdir() if path.is_file()) == [
        "config.json",
        "report.html",
        "report.json",
    ]
    config = json.loads((folder / "config.json").read_text())
    assert config["weights"]["licence"] == "none needed"
    report = json.loads((folder / "report.json").read_text())
    assert report["exit_status"] == 0
    assert report["clips"] == {"total": 3, "ok": 3, "partial": 0, "failed": 0, "this_run": 3}
    assert report["run"]["track_frames"] == len(_masks(finished))


def test_a_finished_output_has_nothing_left_to_do(
    finished: Path, corpus: Corpus, weights: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(path.name for path in finished.glob("*/*.parquet"))
    assert run(SegmentOptions(str(corpus.manifest), str(finished), weights=weights)) == 0
    assert "3 finished before, 0 to do" in capsys.readouterr().err
    assert sorted(path.name for path in finished.glob("*/*.parquet")) == before


def test_s3_gives_the_same_tables(
    finished: Path, corpus: Corpus, weights: str, s3_store: S3Store, tmp_path: Path
) -> None:
    from pipeline import storage

    for path in [corpus.manifest, *corpus.videos]:
        storage.upload_file(path, s3_store.uri(f"same/{path.relative_to(corpus.manifest.parent)}"))
    storage.upload_file(weights, s3_store.uri("same/weights.safetensors"))
    output = s3_store.uri("same/out")
    options = SegmentOptions(
        s3_store.uri("same/manifest.jsonl"), output, weights=s3_store.uri("same/weights.safetensors")
    )
    assert run(options) == 0
    for entry in storage.list_files(output):
        target = tmp_path / entry.uri.removeprefix(storage.parse(output).uri + "/")
        target.parent.mkdir(parents=True, exist_ok=True)
        storage.download(entry.uri, target)
    assert _masks(tmp_path) == _masks(finished)
    changing = {"run_id", "masks_part", "started_at", "finished_at", "decode_wait_s"}
    assert [{k: v for k, v in clip.items() if k not in changing} for clip in _clips(tmp_path)] == [
        {k: v for k, v in clip.items() if k not in changing} for clip in _clips(finished)
    ]


def test_what_cannot_be_tracked_is_a_row_that_says_so(
    ray_local: None, corpus: Corpus, weights: str, tmp_path: Path
) -> None:
    good = _entries(corpus)[0]
    (tmp_path / "text.mp4").write_text("this is no video")
    (tmp_path / "empty.mp4").touch()
    clips = [
        {**good, "clip_id": "good", "end_frame": 6},
        {**good, "clip_id": "absent", "video_uri": "absent.mp4"},
        {**good, "clip_id": "text", "video_uri": "text.mp4"},
        {**good, "clip_id": "empty", "video_uri": "empty.mp4"},
        {**good, "clip_id": "outside", "objects": [{"box": [5000, 10, 20, 20]}]},
        {**good, "clip_id": "late", "start_frame": 5000},
    ]
    manifest, output = _write(tmp_path / "m.jsonl", clips), tmp_path / "out"
    options = SegmentOptions(manifest, str(output), weights=weights, max_failed=1.0, strict=True)
    assert run(options) == 3
    rows = {clip["clip_id"]: clip for clip in _clips(output)}
    found = {name: (row["status"], row["error_stage"], row["error_type"]) for name, row in rows.items()}
    assert found == {
        "good": ("ok", None, None),
        "absent": ("failed", "fetch", "NotFound"),
        "text": ("failed", "open", "InvalidData"),
        "empty": ("failed", "open", "EmptyFile"),
        "outside": ("failed", "init", "ObjectOutsideFrame"),
        "late": ("failed", "open", "RangeOutsideVideo"),
    }
    assert "absent.mp4" in rows["absent"]["error_message"]
    assert {row["clip_id"] for row in _masks(output)} == {"good"}

    # The videos turn up: only what failed is run again, and nothing of the failure is left.
    for name in ("absent.mp4", "text.mp4", "empty.mp4"):
        shutil.copy(good["video_uri"], tmp_path / name)
    assert run(SegmentOptions(manifest, str(output), weights=weights, max_failed=1.0)) == 0
    assert Counter(clip["status"] for clip in _clips(output)) == {"ok": 1, "failed": 5}
    again = SegmentOptions(manifest, str(output), weights=weights, max_failed=1.0, retry_failed=True)
    assert run(again) == 0
    clips_after = _clips(output)
    assert Counter(clip["status"] for clip in clips_after) == {"ok": 4, "failed": 2}
    assert {clip["clip_id"]: clip["attempt"] for clip in clips_after}["good"] == 1
    assert {clip["attempt"] for clip in clips_after if clip["clip_id"] != "good"} == {2}
    assert {row["clip_id"] for row in _masks(output)} == {"good", "absent", "text", "empty"}
    named = {clip["masks_part"] for clip in clips_after} - {None}
    assert {path.name for path in (output / "masks").iterdir()} == named


def test_ranges_strides_late_starts_and_key_frames(
    ray_local: None, corpus: Corpus, weights: str, tmp_path: Path
) -> None:
    video = _entries(corpus)[0]["video_uri"]
    box = {"box": [100, 100, 60, 60]}
    clips = [
        {"clip_id": "frames", "video_uri": video, "start_frame": 4, "end_frame": 15, "objects": [box]},
        {"clip_id": "seconds", "video_uri": video, "start_s": 0.2, "end_s": 0.6, "objects": [box]},
        {
            "clip_id": "objects",
            "video_uri": video,
            "start_frame": 2,
            "end_frame": 14,
            "objects": [
                {"object_id": "007", **box},
                {"object_id": "late", "init_frame": 8, "end_frame": 11, **box},
                {"object_id": "007", "init_frame": 8, "box": [300, 50, 30, 40]},
            ],
        },
    ]
    output = tmp_path / "out"
    manifest = _write(tmp_path / "m.jsonl", clips)
    assert run(SegmentOptions(manifest, str(output), weights=weights, stride=3)) == 0
    frames: dict[tuple[str, str], list[int]] = {}
    for row in _masks(output):
        frames.setdefault((row["clip_id"], row["object_id"]), []).append(row["frame_index"])
    fps = _clips(output)[0]["fps"]
    first, last = int(np.ceil(0.2 * fps - 1e-9)), int(np.ceil(0.6 * fps - 1e-9))
    assert frames == {
        ("frames", "0"): [4, 7, 10, 13],
        ("seconds", "0"): list(range(first, last, 3)),
        ("objects", "007"): [2, 5, 8, 11],
        ("objects", "late"): [8],
    }
    anew = next(r for r in _masks(output) if (r["clip_id"], r["object_id"], r["frame_index"]) == ("objects", "007", 8))
    assert list(anew["bbox"].values()) == [300, 50, 30, 40]
    assert all(abs(row["pts_s"] - row["frame_index"] / fps) < 1e-9 for row in _masks(output))


def test_parquet_and_csv_manifests_and_kept_columns(
    ray_local: None, corpus: Corpus, weights: str, tmp_path: Path
) -> None:
    video = _entries(corpus)[0]["video_uri"]
    table = pa.table(
        {
            "clip_id": ["007"],
            "video_uri": [video],
            "end_frame": pa.array([3], pa.int64()),
            "objects": [[{"object_id": "1", "box": [100.0, 100.0, 60.0, 60.0]}]],
            "camera": ["north"],
        }
    )
    pq.write_table(table, tmp_path / "m.parquet")
    (tmp_path / "m.csv").write_text(
        f"clip_id,video_uri,end_frame,object_id,x,y,w,h,camera\n007,{video},3,1,100,100,60,60,north\n"
    )
    results = []
    for name in ("m.parquet", "m.csv"):
        output = tmp_path / f"out-{name}"
        options = SegmentOptions(str(tmp_path / name), str(output), weights=weights, keep_columns=("camera",))
        assert run(options) == 0
        (clip,) = _clips(output)
        assert (clip["clip_id"], clip["camera"]) == ("007", "north")
        results.append((clip["clip_hash"], _masks(output)))
    assert results[0] == results[1]


def test_a_changed_configuration_or_clip_is_refused_by_name(
    finished: Path, corpus: Corpus, weights: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="stride 2"):
        run(SegmentOptions(str(corpus.manifest), str(finished), weights=weights, stride=2))
    clips = _entries(corpus)
    changed = _write(tmp_path / "changed.jsonl", [{**clips[0], "end_frame": 9}])
    with pytest.raises(UsageError, match=f"changed.jsonl:1.*clip {clips[0]['clip_id']} as the output has it"):
        run(SegmentOptions(changed, str(finished), weights=weights))


def test_the_breaker_stops_a_hopeless_run(ray_local: None, corpus: Corpus, weights: str, tmp_path: Path) -> None:
    good = _entries(corpus)[0]
    clips = [{**good, "clip_id": f"c{i:03d}", "video_uri": f"absent{i}.mp4"} for i in range(120)]
    output = tmp_path / "out"
    assert run(SegmentOptions(_write(tmp_path / "m.jsonl", clips), str(output), weights=weights)) == 1
    assert not list(output.glob("masks/*"))
    (report,) = output.glob("_runs/*/report.json")
    assert json.loads(report.read_text())["exit_status"] == 1


def test_a_dry_run_says_what_it_would_do_and_does_nothing(
    ray_local: None, corpus: Corpus, weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    options = SegmentOptions(str(corpus.manifest), str(output), weights=weights, dry_run=True)
    assert run(options) == 0
    text = capsys.readouterr().out
    assert f"{corpus.frames} frames (3 clips guessed from 3 of their videos)" in text
    assert "track-frames/s" in text
    assert not list(tmp_path.glob("out/*/*"))


def test_limit_takes_the_first_clips(ray_local: None, corpus: Corpus, weights: str, tmp_path: Path) -> None:
    output = tmp_path / "out"
    assert run(SegmentOptions(str(corpus.manifest), str(output), weights=weights, limit=1)) == 0
    assert [clip["clip_id"] for clip in _clips(output)] == [_entries(corpus)[0]["clip_id"]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--output"),
        (["--output", "out"], "--manifest"),
        (["--manifest", "m.jsonl", "--output", "out", "--stride", "0"], "--stride 0"),
        (["--manifest", "m.jsonl", "--output", "out", "--actors", "x"], "--actors x"),
        (["--manifest", "m.jsonl", "--output", "ftp://host/x"], "ftp://host/x"),
        (["--manifest", "m.jsonl", "--output", "out", "--weights", "absent.pth"], "absent.pth"),
        (["--manifest", "m.jsonl", "--output", "out", "--preset", "fast", "--weights", "{weights}"], "fast"),
        (["--manifest", "absent.jsonl", "--output", "out", "--weights", "{weights}"], "absent.jsonl"),
    ],
)
def test_the_command_line_ends_with_2_and_names_the_fault(
    weights: str, tmp_path: Path, arguments: list[str], message: str
) -> None:
    given = [argument.format(weights=weights) for argument in arguments]
    done = subprocess.run(
        [sys.executable, str(ROOT / "jobs" / "segment.py"), *given],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
