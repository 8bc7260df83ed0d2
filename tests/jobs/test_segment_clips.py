"""The main job on clips of many kinds, and on mistakes of its user."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.demo.corpus import Corpus
from pipeline.driver.run import run
from pipeline.plan.options import SegmentOptions
from tests.conftest import ROOT
from tests.jobs.segment_runs import clip_rows, corpus, manifest_clips, mask_rows, weights, write_manifest

__all__ = ["corpus", "weights"]


def test_what_cannot_be_tracked_is_a_row_that_says_so(
    ray_local: None, corpus: Corpus, weights: str, tmp_path: Path
) -> None:
    good = manifest_clips(corpus)[0]
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
    manifest, output = write_manifest(tmp_path / "m.jsonl", clips), tmp_path / "out"
    options = SegmentOptions(manifest, str(output), weights=weights, max_failed=1.0, strict=True)
    assert run(options) == 3
    rows = {clip["clip_id"]: clip for clip in clip_rows(output)}
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
    assert {row["clip_id"] for row in mask_rows(output)} == {"good"}

    # The videos turn up: only what failed is run again, and nothing of the failure is left.
    for name in ("absent.mp4", "text.mp4", "empty.mp4"):
        shutil.copy(good["video_uri"], tmp_path / name)
    assert run(SegmentOptions(manifest, str(output), weights=weights, max_failed=1.0)) == 0
    assert Counter(clip["status"] for clip in clip_rows(output)) == {"ok": 1, "failed": 5}
    again = SegmentOptions(manifest, str(output), weights=weights, max_failed=1.0, retry_failed=True)
    assert run(again) == 0
    clips_after = clip_rows(output)
    assert Counter(clip["status"] for clip in clips_after) == {"ok": 4, "failed": 2}
    assert {clip["clip_id"]: clip["attempt"] for clip in clips_after}["good"] == 1
    assert {clip["attempt"] for clip in clips_after if clip["clip_id"] != "good"} == {2}
    assert {row["clip_id"] for row in mask_rows(output)} == {"good", "absent", "text", "empty"}
    named = {clip["masks_part"] for clip in clips_after} - {None}
    assert {path.name for path in (output / "masks").iterdir()} == named


def test_ranges_strides_late_starts_and_key_frames(
    ray_local: None, corpus: Corpus, weights: str, tmp_path: Path
) -> None:
    video = manifest_clips(corpus)[0]["video_uri"]
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
    manifest = write_manifest(tmp_path / "m.jsonl", clips)
    assert run(SegmentOptions(manifest, str(output), weights=weights, stride=3)) == 0
    frames: dict[tuple[str, str], list[int]] = {}
    for row in mask_rows(output):
        frames.setdefault((row["clip_id"], row["object_id"]), []).append(row["frame_index"])
    fps = clip_rows(output)[0]["fps"]
    first, last = int(np.ceil(0.2 * fps - 1e-9)), int(np.ceil(0.6 * fps - 1e-9))
    assert frames == {
        ("frames", "0"): [4, 7, 10, 13],
        ("seconds", "0"): list(range(first, last, 3)),
        ("objects", "007"): [2, 5, 8, 11],
        ("objects", "late"): [8],
    }
    anew = next(
        r for r in mask_rows(output) if (r["clip_id"], r["object_id"], r["frame_index"]) == ("objects", "007", 8)
    )
    assert list(anew["bbox"].values()) == [300, 50, 30, 40]
    assert all(abs(row["pts_s"] - row["frame_index"] / fps) < 1e-9 for row in mask_rows(output))


def test_parquet_and_csv_manifests_and_kept_columns(
    ray_local: None, corpus: Corpus, weights: str, tmp_path: Path
) -> None:
    video = manifest_clips(corpus)[0]["video_uri"]
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
        (clip,) = clip_rows(output)
        assert (clip["clip_id"], clip["camera"]) == ("007", "north")
        results.append((clip["clip_hash"], mask_rows(output)))
    assert results[0] == results[1]


def test_the_breaker_stops_a_hopeless_run(ray_local: None, corpus: Corpus, weights: str, tmp_path: Path) -> None:
    good = manifest_clips(corpus)[0]
    clips = [{**good, "clip_id": f"c{i:03d}", "video_uri": f"absent{i}.mp4"} for i in range(120)]
    output = tmp_path / "out"
    assert run(SegmentOptions(write_manifest(tmp_path / "m.jsonl", clips), str(output), weights=weights)) == 1
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
    assert [clip["clip_id"] for clip in clip_rows(output)] == [manifest_clips(corpus)[0]["clip_id"]]


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
