"""The demo corpus as a manifest of many short clips: each scene whole, and cut into ranges."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
from pycocotools import mask as coco

from pipeline.demo.corpus import Corpus, write_corpus

RANGE_FRAMES = 12


def write_many_clips(folder: Path) -> tuple[Corpus, list[dict]]:
    """Draw the demo corpus into a folder, with a manifest that has clips of ranges beside those of whole scenes.

    Returns:
        The corpus, and the manifest's rows. An object's first box in a range is that of its true mask there.
    """
    corpus = write_corpus(folder)
    rows = [json.loads(line) for line in corpus.manifest.read_text().splitlines()]
    truth: dict[tuple[str, int], list[dict]] = {}
    for row in pq.read_table(corpus.truth).to_pylist():
        truth.setdefault((row["clip_id"], row["frame_index"]), []).append(row)
    for scene in list(rows):
        frames = sum(1 for clip_id, _ in truth if clip_id == scene["clip_id"])
        for first in range(0, frames - RANGE_FRAMES + 1, RANGE_FRAMES):
            seen = [row for row in truth[scene["clip_id"], first] if coco.area(row["mask"]) > 0]
            objects = [{"object_id": row["object_id"], "box": coco.toBbox(row["mask"]).tolist()} for row in seen]
            rows.append(
                {
                    "clip_id": f"{scene['clip_id']}-{first:03d}",
                    "video_uri": scene["video_uri"],
                    "start_frame": first,
                    "end_frame": first + RANGE_FRAMES,
                    "objects": objects,
                }
            )
    corpus.manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return corpus, rows
