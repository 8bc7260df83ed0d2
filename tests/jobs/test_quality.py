"""The bundled model on real objects: DAVIS-2016 validation through the whole job, from init boxes only."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from pycocotools import mask as coco

from model.metrics import judged_frames, region_j
from pipeline.options import SegmentOptions
from pipeline.run import run


def _decode(rle: dict) -> np.ndarray:
    return coco.decode({"size": rle["size"], "counts": rle["counts"].encode()}).astype(bool)


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.timeout(1500)
def test_davis_validation_above_what_perfect_boxes_would_score(
    ray_local: None, shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Perfect boxes, filled, would score a mean J of 0.45; keeping the first mask scores 0.30."""
    davis = shared / "data" / "davis"
    sequences = [row for row in pq.read_table(davis / "sequences.parquet").to_pylist() if row["split"] == "val"]
    clips = [
        {
            "clip_id": row["sequence"],
            "video_uri": str(davis / row["video"]),
            "objects": [{"box": [row[name] for name in "xywh"]}],
        }
        for row in sequences
    ]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(clip) + "\n" for clip in clips))
    assert run(SegmentOptions(str(tmp_path / "m.jsonl"), str(tmp_path / "out"), strict=True)) == 0

    rows = pq.read_table(tmp_path / "out" / "masks", columns=["clip_id", "frame_index", "mask"]).to_pylist()
    found = {(row["clip_id"], row["frame_index"]): row["mask"] for row in rows}
    truth = pq.read_table(davis / "masks.parquet", filters=[("split", "=", "val")]).to_pylist()
    wanted = {(row["sequence"], row["frame_index"]): row["mask"] for row in truth}
    means, still = {}, {}
    for row in sequences:
        name = row["sequence"]
        frames = judged_frames(row["frames"])
        true = [_decode(wanted[name, index]) for index in frames]
        first = _decode(wanted[name, 0])
        scores = [region_j(_decode(found[name, index]), mask) for index, mask in zip(frames, true, strict=True)]
        means[name] = float(np.mean(scores))
        still[name] = float(np.mean([region_j(first, mask) for mask in true]))
    with capsys.disabled():
        for name, value in means.items():
            print(f"\n{name:<20} J {value:.3f}  first mask kept {still[name]:.3f}", end="")
        print(f"\n{'mean':<20} J {np.mean(list(means.values())):.3f}  {np.mean(list(still.values())):.3f}")
    assert np.mean(list(means.values())) > 0.45
