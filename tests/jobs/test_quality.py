"""The bundled model on real objects: DAVIS-2016 validation through the whole job, from init boxes only."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.driver.run import run
from pipeline.evaluate.truth import open_truth
from pipeline.evaluate.vos import judge_vos
from pipeline.plan.options import SegmentOptions
from pipeline.reading import open_run


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.timeout(1500)
def test_davis_validation_above_what_perfect_boxes_would_score(
    ray_local: None, shared: Path, tmp_path: Path, say: Callable[[str], None]
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

    judged = list(judge_vos(open_run(str(tmp_path / "out")), open_truth(str(davis), split="val")))
    assert not any(row.missing for row in judged)
    means = {row.sequence: float(row.j.mean()) for row in judged}
    still = {row.sequence: row.still_j for row in judged}
    for name, value in means.items():
        say(f"{name:<20} J {value:.3f}  first mask kept {still[name]:.3f}")
    say(f"{'mean':<20} J {np.mean(list(means.values())):.3f}  {np.mean(list(still.values())):.3f}")
    assert np.mean(list(means.values())) > 0.6
    assert np.mean([row.f.mean() for row in judged]) > 0.54
    assert all(value > still[name] for name, value in means.items())
