"""Folders of pictures in place of videos, local and in object storage, through the job and `track_video`."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pyarrow.parquet as pq
import pytest

from model import track_video
from pipeline import storage
from pipeline.driver.run import run
from pipeline.plan.options import SegmentOptions
from tests.conftest import S3Store
from tests.pipeline.videos import picture


@pytest.mark.timeout(600)
def test_every_picture_has_its_row(ray_local: None, s3_store: S3Store, tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(12):
        cv2.imwrite(str(folder / f"{number + 1:05d}.jpg"), picture(number, 128, 96)[..., ::-1])
        storage.upload_file(folder / f"{number + 1:05d}.jpg", s3_store.uri(f"pictures/frames/{number + 1:05d}.jpg"))
    videos = {
        "folder": "frames",
        "slash": "frames/",
        "pattern": "frames/%05d.jpg",
        "s3-folder": s3_store.uri("pictures/frames"),
        "s3-pattern": s3_store.uri("pictures/frames/%05d.jpg"),
    }
    box = [0, 0, 16, 16]
    clips = [{"clip_id": name, "video_uri": uri, "fps": 10, "objects": [{"box": box}]} for name, uri in videos.items()]
    clips += [
        {"clip_id": "range", "video_uri": "frames", "start_frame": 5, "objects": [{"box": box}]},
        {"clip_id": "absent", "video_uri": s3_store.uri("pictures/none"), "objects": [{"box": box}]},
    ]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(clip) + "\n" for clip in clips))
    output = tmp_path / "out"
    options = SegmentOptions(str(tmp_path / "m.jsonl"), str(output), report=False, max_failed=1.0, precision="fp32")
    assert run(options) == 0
    rows = {row["clip_id"]: row for row in pq.read_table(output / "clips").to_pylist()}
    masks = pq.read_table(output / "masks").to_pylist()
    tracked = list(track_video(folder, {"0": box}, device="cpu", precision="fp32"))
    assert [result.frame_index for result in tracked] == list(range(12))
    for name in videos:
        row = rows[name]
        assert (row["status"], row["frames"], row["fps"], row["timing"], row["width"]) == (
            "ok", 12, 10.0, "counted", 128,
        ), row  # fmt: skip
        found = {mask["frame_index"]: mask for mask in masks if mask["clip_id"] == name}
        assert [found[index]["pts_s"] for index in range(12)] == [index / 10 for index in range(12)]
        assert [found[index]["mask"] for index in range(12)] == [result.objects["0"].rle for result in tracked]
    assert (rows["range"]["start_frame"], rows["range"]["frames"], rows["range"]["fps"]) == (5, 7, 25.0)
    assert (rows["absent"]["status"], rows["absent"]["error_type"]) == ("failed", "NotFound")
