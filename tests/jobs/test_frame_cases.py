"""Files that came out wrong once, through the job: which frames have rows, when, and what `clips` says of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from benchmarks.null_model import build_null_engine
from model import track_video
from pipeline.driver.run import run
from pipeline.plan.options import SegmentOptions

CASES = {
    "base.mp4": (40, "exact", 25.0, False),
    "editlist_cut.mp4": (27, "exact", 25.0, False),
    "h264_b.avi": (40, "counted", 25.0, False),
    "flip_h.mp4": (40, "exact", 25.0, True),
    "dup_one.mkv": (40, "repaired", 50.0, False),
    "cat_gap_back.ts": (120, "repaired", 25.0, False),
    "intrarefresh_cut.ts": (22, "exact", 25.0, False),
    "avif.avif": (20, "exact", 25.0, False),
    "one_frame.dv": (1, "exact", 25.0, False),
}
"""Frames, `timing`, `fps` and `mirrored`."""


@pytest.mark.shared
@pytest.mark.timeout(600)
@pytest.mark.parametrize("decoder", ["decord", "pyav"])
def test_every_frame_has_its_row(ray_local: None, shared: Path, tmp_path: Path, decoder: str) -> None:
    folder = shared / "cases" / "frames"
    box = [30.0, 48.0, 30.0, 26.0]
    clips: list[dict[str, object]] = [
        {"clip_id": name, "video_uri": str(folder / name), "objects": [{"box": box}]} for name in CASES
    ]
    ranged = {"clip_id": "range", "video_uri": str(folder / "dup_one.mkv"), "start_s": 2, "end_s": 3}
    clips.append({**ranged, "objects": [{"box": box}]})
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(clip) + "\n" for clip in clips))
    output = tmp_path / "out"
    options = SegmentOptions(str(tmp_path / "m.jsonl"), str(output), decoder=decoder, report=False)  # type: ignore[arg-type]
    assert run(options, build_engine=build_null_engine) == 0
    rows = {row["clip_id"]: row for row in pq.read_table(output / "clips").to_pylist()}
    masks = pq.read_table(output / "masks", columns=["clip_id", "frame_index", "pts_s"]).to_pylist()
    times: dict[str, dict[int, float]] = {}
    for mask in masks:
        times.setdefault(mask["clip_id"], {})[mask["frame_index"]] = mask["pts_s"]
    for name, (frames, timing, fps, mirrored) in CASES.items():
        row = rows[name]
        assert (row["status"], row["corrupt_frames"], row["frames"]) == ("ok", 0, frames), row
        assert (row["timing"], row["fps"], row["rotation"], row["mirrored"]) == (timing, fps, 0, mirrored), name
        assert sorted(times[name]) == list(range(frames)), name
        assert np.all(np.diff([times[name][index] for index in range(frames)]) > 0), name
    assert times["dup_one.mkv"][39] == pytest.approx(3.66)
    assert sorted(times["range"]) == list(range(20, 30))
    tracked = list(track_video(folder / "h264_b.avi", {"0": box}, device="cpu"))
    assert [(result.frame_index, result.pts_s) for result in tracked] == sorted(times["h264_b.avi"].items())
