"""Write the demo corpus: videos, a manifest with each object's first box, and the true masks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pycocotools import mask as coco

from model.video.writer import VideoWriter
from pipeline.demo.scenes import FPS, SCENES, Scene, draw

TRUTH_SCHEMA = pa.schema(
    [
        pa.field("clip_id", pa.string(), nullable=False),
        pa.field("object_id", pa.string(), nullable=False),
        pa.field("frame_index", pa.int64(), nullable=False),
        pa.field("mask", pa.struct([("size", pa.list_(pa.int32(), 2)), ("counts", pa.string())]), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True)
class Corpus:
    """Where the demo corpus is, and how many frames it has; a video's stem is its clip's id."""

    manifest: Path
    truth: Path
    videos: tuple[Path, ...]
    frames: int


def write_corpus(folder: Path, scenes: Sequence[Scene] = SCENES) -> Corpus:
    """Draws scenes into `folder`: `videos/<clip>.mp4`, `manifest.jsonl`, `truth.parquet`.

    The same bytes come out every time. `truth.parquet` has what is visible of each object in each frame, with the
    key columns of the `masks` table.
    """
    manifest, truth = folder / "manifest.jsonl", folder / "truth.parquet"
    folder.mkdir(parents=True, exist_ok=True)
    lines, rows, videos = [], [], []
    for scene in scenes:
        videos.append(folder / "videos" / f"{scene.clip_id}.mp4")
        clip_rows = _write_clip(scene, videos[-1])
        first = [row for row in clip_rows if row["frame_index"] == 0]
        objects = [{"object_id": row["object_id"], "box": coco.toBbox(row["mask"]).tolist()} for row in first]
        video_uri = videos[-1].relative_to(folder).as_posix()
        lines.append(json.dumps({"clip_id": scene.clip_id, "video_uri": video_uri, "objects": objects}))
        rows += clip_rows
    pq.write_table(pa.Table.from_pylist(rows, TRUTH_SCHEMA), truth)
    manifest.write_text("\n".join(lines) + "\n")
    return Corpus(manifest, truth, tuple(videos), frames=sum(scene.frames for scene in scenes))


def _write_clip(scene: Scene, path: Path) -> list[dict]:
    """Encodes the clip and returns its truth, one row an object and frame."""
    rows = []
    with VideoWriter(path, FPS) as video:
        for index, frame in enumerate(draw(scene)):
            video.write(frame.rgb)
            for object_id, mask in frame.masks.items():
                rle = coco.encode(np.asfortranarray(mask, dtype=np.uint8))
                rle["counts"] = rle["counts"].decode("ascii")
                rows.append({"clip_id": scene.clip_id, "object_id": object_id, "frame_index": index, "mask": rle})
    return rows
