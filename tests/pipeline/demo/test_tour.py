"""The ready-made queries run on tables of the published schema, and the overlap is the definition's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pycocotools import mask as coco
from rich.console import Console

from pipeline.demo.tour import mean_overlap, queries, show


def rle(left: int, right: int) -> dict:
    mask = np.zeros((10, 100), np.uint8, order="F")
    mask[:, left:right] = 1
    encoded = coco.encode(mask)
    return {"size": encoded["size"], "counts": encoded["counts"].decode()}


def write_output(folder: Path, masks: list[dict]) -> Path:
    (folder / "masks").mkdir(parents=True)
    (folder / "clips").mkdir()
    pq.write_table(pa.Table.from_pylist(masks), folder / "masks" / "part-a.parquet")
    clip = {"clip_id": "a", "status": "ok", "objects": 1, "frames": 4, "corrupt_frames": 0}
    clip |= {"width": 100, "height": 10, "decoder": "decord"}
    pq.write_table(pa.Table.from_pylist([clip]), folder / "clips" / "part-a.parquet")
    return folder


def row(frame: int, left: int, right: int) -> dict:
    box = {"cx": (left + right) / 2, "cy": 5.0, "w": float(right - left), "h": 10.0, "angle": 0.0}
    key = {"clip_id": "a", "object_id": "0", "frame_index": frame}
    return key | {"pts_s": frame / 2, "score": 0.5, "mask": rle(left, right), "area": 10 * (right - left), "rbox": box}


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Four frames at 2 a second; the object moves by 10, 30 and 0 px."""
    return write_output(tmp_path / "it's here", [row(0, 0, 20), row(1, 10, 30), row(2, 40, 60), row(3, 40, 60)])


def test_queries_answer(output: Path) -> None:
    console = Console(width=160, record=True, no_color=True)
    for query in queries(output):
        show(query, console)
    text = console.export_text()
    assert "decord" in text and "smallest_px" in text
    assert "60.0" in text, "30 px in half a second"


def test_overlap(output: Path, tmp_path: Path) -> None:
    """Frame 1 shares 10 of 30 columns with the truth, frame 2 all; the wrong first and last do not count."""
    truth = tmp_path / "truth.parquet"
    rows = [row(0, 90, 99), row(1, 0, 20), row(2, 40, 60), row(3, 90, 99)]
    pq.write_table(pa.Table.from_pylist(rows), truth)
    assert mean_overlap(output, truth) == pytest.approx((10 / 30 + 1) / 2)


def test_missing_frame_counts_as_zero(tmp_path: Path) -> None:
    output = write_output(tmp_path / "run", [row(0, 0, 20), row(1, 10, 30), row(3, 40, 60)])
    truth = tmp_path / "truth.parquet"
    pq.write_table(pa.Table.from_pylist([row(i, 10, 30) for i in range(4)]), truth)
    assert mean_overlap(output, truth) == pytest.approx(0.5)
