"""All the real video files in one manifest: each a row, and what is read equals PyAV's own reading.

Frames and rows are judged, so the engine is one that costs nothing; the model is judged in `test_quality.py`.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest

from benchmarks.null_model import build_null_engine
from pipeline.driver.run import run
from pipeline.plan.options import SegmentOptions

# Files that hold no frame that could be tracked, and how their rows must say so.
UNREADABLE = {
    "am_audio_only.mp4": ("open", "NoVideoStream"),
    "am_malformed_free_box.mp4": ("open", "InvalidData"),
    "am_vp9_invalid_bitstream.webm": ("decode", None),
}


def _size(row: dict[str, str]) -> tuple[int, int]:
    width, _, height = row["coded_wxh"].partition("x")
    if not width:
        return 100, 100
    turned = abs(int(row["rotation_deg"] or 0)) % 180 == 90
    return (int(height), int(width)) if turned else (int(width), int(height))


def _plain_timestamps(path: Path) -> list[float]:
    """Presentation times after the first frame's of everything that PyAV decodes, frame by frame."""
    times = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        try:
            for frame in container.decode(stream):
                times.append((frame.pts, frame.time_base))
        except av.error.FFmpegError:
            pass
    first = times[0][0]
    return [float((pts - first) * base) for pts, base in times]


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.timeout(1500)
def test_every_file_is_a_row_and_its_frames_are_those_of_pyav(
    ray_local: None, shared: Path, tmp_path: Path, say: Callable[[str], None]
) -> None:
    folder = shared / "data" / "videos"
    with (folder / "MANIFEST.tsv").open() as file:
        listed = {row["name"]: row for row in csv.DictReader(file, delimiter="\t")}
    assert len(listed) == 28
    clips = []
    for name, row in listed.items():
        width, height = _size(row)
        box = [width * 0.375, height * 0.375, width * 0.25, height * 0.25]
        clips.append({"clip_id": name, "video_uri": str(folder / name), "objects": [{"box": box}]})
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(clip) + "\n" for clip in clips))
    options = SegmentOptions(str(tmp_path / "m.jsonl"), str(tmp_path / "out"), max_failed=1.0)
    assert run(options, build_engine=build_null_engine) == 0

    rows = {row["clip_id"]: row for row in pq.read_table(tmp_path / "out" / "clips").to_pylist()}
    assert set(rows) == set(listed)
    masks = pq.read_table(tmp_path / "out" / "masks", columns=["clip_id", "frame_index", "pts_s"]).to_pylist()
    times: dict[str, dict[int, float]] = {}
    for row in masks:
        times.setdefault(row["clip_id"], {})[row["frame_index"]] = row["pts_s"]
    lines = []
    for name, row in sorted(rows.items()):
        lines.append(
            f"{name:<34} {row['status']:<8} {row['decoder'] or '-':<7} frames {row['frames']:>4} "
            f"corrupt {row['corrupt_frames']:>3} {row['error_type'] or ''}"
        )
        if name in UNREADABLE:
            stage, kind = UNREADABLE[name]
            assert row["status"] == "failed"
            assert kind is None or (row["error_stage"], row["error_type"]) == (stage, kind)
            assert row["error_message"]
            continue
        assert row["frames"] == len(times.get(name, {})), name
        if row["status"] == "ok" and row["corrupt_frames"] == 0:
            plain = _plain_timestamps(folder / name)
            assert len(plain) == row["frames"], name
            np.testing.assert_allclose([times[name][i] for i in range(len(plain))], plain, atol=1e-9, err_msg=name)
    say("\n".join(lines))
    healthy = [name for name, row in listed.items() if not row["decode_error"]]
    assert all(rows[name]["status"] == "ok" for name in healthy)
