"""A whole run on seeded public weights against the published implementation's track."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path

import av
import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from pycocotools import mask as coco

from pipeline.driver.run import run
from pipeline.plan.options import SegmentOptions
from tests.model.golden import seeded_checkpoint


def _lossless(frames: list[Path], target: Path) -> None:
    """Code images as FFV1 in RGB, so that the decoder gives back every byte."""
    images = [cv2.imread(str(path)) for path in frames]
    with av.open(str(target), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.pix_fmt = "bgr0"
        stream.height, stream.width = images[0].shape[:2]
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode())


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    union = np.logical_or(a, b).sum()
    return float(np.logical_and(a, b).sum() / union) if union else 1.0


@pytest.mark.shared
def test_a_run_reproduces_the_published_track(ray_local: None, shared: Path, tmp_path: Path) -> None:
    golden = np.load(shared / "golden" / "track_davis_refine.npz")
    _lossless(sorted((shared / "golden" / "frames").glob("*.png")), tmp_path / "frames.mkv")
    torch.save({"state_dict": seeded_checkpoint(shared)}, tmp_path / "seeded.pth")
    clip = {"clip_id": "golden", "video_uri": "frames.mkv", "objects": [{"box": golden["init_box"].tolist()}]}
    (tmp_path / "m.jsonl").write_text(json.dumps(clip) + "\n")
    options = SegmentOptions(
        str(tmp_path / "m.jsonl"),
        str(tmp_path / "out"),
        weights=str(tmp_path / "seeded.pth"),
        preset="davis",
        precision="fp32",
    )
    assert run(options) == 0
    (row,) = pq.read_table(tmp_path / "out" / "clips").to_pylist()
    assert (row["status"], row["frames"], row["precision"]) == ("ok", 13, "fp32")
    rows = pq.read_table(tmp_path / "out" / "masks").sort_by("frame_index").to_pylist()
    assert [row["frame_index"] for row in rows] == list(range(13))
    height, width = golden["mask_shape"]
    for index, row in enumerate(rows[1:]):
        box = row["bbox"]
        centre = (box["x"] + box["w"] / 2, box["y"] + box["h"] / 2)
        np.testing.assert_allclose(centre, golden["position"][index], atol=0.05)
        np.testing.assert_allclose((box["w"], box["h"]), golden["size"][index], atol=0.05)
        assert abs(row["score"] - golden["score"][index]) < 1e-3
        want = np.unpackbits(golden["mask_bits"][index])[: height * width].reshape(height, width).astype(bool)
        got = coco.decode({"size": row["mask"]["size"], "counts": row["mask"]["counts"].encode()}).astype(bool)
        assert _overlap(got, want) >= 0.995
        corners = np.array(row["corners"]).reshape(4, 2)
        polygon = golden["polygon"][index]
        assert min(np.abs(corners - polygon[list(order)]).max() for order in permutations(range(4))) < 1.0
