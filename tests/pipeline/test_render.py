"""Overlay videos: the source's frames, size, rate and times, with the table's masks on them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pycocotools import mask as coco

from model.overlay import OverlayStyle, colour_of
from model.video_writer import VideoWriter
from pipeline import storage
from pipeline.render import RenderError, read_clip, render_clip
from pipeline.tables import CLIPS, MASKS
from tests.conftest import S3Store

HEIGHT, WIDTH, FPS, FRAMES = 96, 160, 25, 30
START, END = 4, 28
ONLY_FILL = OverlayStyle(opacity=1.0, contour=False, box=False, label=False)


@dataclass(frozen=True)
class Example:
    video: Path
    output: str
    masks: dict[tuple[str, int], np.ndarray]


def blob(object_id: str, frame: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    centre = (20 + 4 * frame, 30) if object_id == "a" else (130 - 3 * frame, 66)
    cv2.circle(mask, centre, 16, 1, -1)
    return mask.astype(bool)


def mask_row(object_id: str, frame: int, mask: np.ndarray) -> dict[str, Any]:
    rle = coco.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {
        "clip_id": "two",
        "object_id": object_id,
        "frame_index": frame,
        "pts_s": frame / FPS,
        "score": 0.9,
        "mask": {"size": rle["size"], "counts": rle["counts"].decode()},
        "corners": [1.0] * 8,
    }


def write_tables(folder: Path, rows: list[dict[str, Any]]) -> None:
    clips = [
        {"clip_id": "two", "status": "ok", "masks_part": "part-x.parquet", "start_frame": START, "end_frame": END},
        {"clip_id": "bad", "status": "failed", "error_stage": "open", "error_message": "no video stream"},
    ]
    for name, schema, values in (("masks", MASKS, rows), ("clips", CLIPS, clips)):
        (folder / name).mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(values, schema), folder / name / "part-x.parquet")


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Example:
    """A clip [4, 28) of a noisy video; object b starts at frame 10, frame 12 has no rows."""
    folder = tmp_path_factory.mktemp("render")
    rng = np.random.default_rng(0)
    ground = rng.integers(60, 190, (HEIGHT // 8, WIDTH // 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    with VideoWriter(folder / "source.mp4", FPS, quality=10) as video:
        for frame in range(FRAMES):
            video.write(np.roll(ground, 2 * frame, axis=1))
    masks = {
        (object_id, frame): blob(object_id, frame)
        for object_id, first in (("a", START), ("b", 10))
        for frame in range(first, END)
        if frame != 12
    }
    write_tables(folder / "run", [mask_row(*key, mask) for key, mask in masks.items()])
    return Example(folder / "source.mp4", str(folder / "run"), masks)


def decode(path: Path) -> tuple[np.ndarray, list[float], float]:
    with av.open(str(path)) as video:
        stream = video.streams.video[0]
        frames = list(video.decode(stream))
        assert stream.average_rate is not None
        pictures = np.stack([frame.to_ndarray(format="rgb24") for frame in frames])
        return pictures, [float(frame.time or 0) for frame in frames], float(stream.average_rate)


def test_same_frames_size_and_rate(example: Example, tmp_path: Path) -> None:
    rendered = render_clip(example.output, "two", str(example.video), tmp_path / "two.mp4")
    pictures, times, rate = decode(tmp_path / "two.mp4")
    assert pictures.shape == (END - START, HEIGHT, WIDTH, 3)
    assert (rendered.frames, rendered.height, rendered.width) == pictures.shape[:3]
    assert rate == pytest.approx(FPS) and rendered.fps == pytest.approx(FPS)
    assert times == pytest.approx([i / FPS for i in range(END - START)], abs=2e-5)


def test_pixels_are_the_tables_masks(example: Example, tmp_path: Path) -> None:
    render_clip(example.output, "two", str(example.video), tmp_path / "two.mp4", ONLY_FILL)
    pictures, _, _ = decode(tmp_path / "two.mp4")
    source, _, _ = decode(example.video)
    kernel = np.ones((7, 7), np.uint8)
    for frame in range(START, END):
        shown, original = pictures[frame - START].astype(int), source[frame].astype(int)
        near = np.zeros((HEIGHT, WIDTH), bool)
        for position, object_id in enumerate(("a", "b")):
            mask = example.masks.get((object_id, frame))
            if mask is None:
                continue
            near |= cv2.dilate(mask.astype(np.uint8), kernel).astype(bool)
            inner = cv2.erode(mask.astype(np.uint8), kernel).astype(bool)
            later = example.masks.get(("b", frame))
            if object_id == "a" and later is not None:
                inner &= ~cv2.dilate(later.astype(np.uint8), kernel).astype(bool)
            if inner.any():
                error = np.abs(shown[inner] - np.array(colour_of(position))).mean()
                assert error < 12, f"object {object_id} is not filled in frame {frame}"
        assert np.abs(shown - original)[~near].mean() < 6, f"frame {frame} differs outside of its masks"


def test_reads_from_s3(example: Example, s3_store: S3Store) -> None:
    for name in ("masks", "clips"):
        target = s3_store.uri(f"render/{name}/part-x.parquet")
        storage.upload_file(Path(example.output, name, "part-x.parquet"), target)
    masks = read_clip(s3_store.uri("render"), "two")
    assert masks.object_ids == ["a", "b"]
    assert [item.object_id for item in masks.at(11)] == ["a", "b"]
    assert [item.object_id for item in masks.at(9)] == ["a"]
    assert masks.at(12) == []


def test_clips_that_cannot_be_shown(example: Example, tmp_path: Path) -> None:
    target = tmp_path / "x.mp4"
    with pytest.raises(RenderError, match=r"clip bad: it failed \(open: no video stream\)"):
        render_clip(example.output, "bad", str(example.video), target)
    with pytest.raises(RenderError, match="clip nobody: .* no clip of this id"):
        render_clip(example.output, "nobody", str(example.video), target)
    with pytest.raises(RenderError, match="clip two: its video does not decode"):
        render_clip(example.output, "two", str(tmp_path / "absent.mp4"), target)
    with VideoWriter(tmp_path / "other.mp4", FPS) as video:
        for _ in range(FRAMES):
            video.write(np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(RenderError, match=r"clip two, frame 4: .*another video"):
        render_clip(example.output, "two", str(tmp_path / "other.mp4"), target)
    assert not target.exists()
