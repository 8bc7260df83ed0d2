"""Many small clips, and what a run made of them."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pycocotools import mask as coco

from model.video.writer import VideoWriter
from pipeline import storage

_KEPT = {"lease.json", ".lease.json.lock", "config.json", "report.json", "report.html"}
# A clip whose decode worker was killed is decoded by PyAV on the next try.
_CHANGING = {"masks_part", "run_id", "started_at", "finished_at", "decode_wait_s", "attempt", "decoder"}


def write_corpus(folder: Path, clips: int, *, seed: int, remote: str) -> str:
    """Draw the clips; every second video lies below `remote`, with the manifest, the others in `folder`.

    Videos have 64 to 160 pixels a side, 6 to 18 frames and one or two objects; returns the manifest's URI.
    """
    rng = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number in range(clips):
        name = f"clip{number:04d}"
        width, height = (2 * rng.randrange(32, 81) for _ in range(2))
        objects = _draw(folder / f"{name}.mp4", rng.randrange(6, 19), width, height, rng)
        uri = str(folder / f"{name}.mp4")
        if number % 2:
            uri = storage.join(remote, f"{name}.mp4")
            storage.upload_file(folder / f"{name}.mp4", uri)
        lines.append(json.dumps({"clip_id": name, "video_uri": uri, "objects": objects}))
    manifest = storage.join(remote, "manifest.jsonl")
    storage.write_bytes(manifest, ("\n".join(lines) + "\n").encode())
    return manifest


def _draw(path: Path, frames: int, width: int, height: int, rng: random.Random) -> list[dict[str, Any]]:
    grain = np.random.default_rng(rng.getrandbits(32))
    ground = grain.integers(40, 120, (height, width, 3), np.uint8)
    sprites = []
    for number in range(rng.choice((1, 1, 1, 2))):
        w, h = rng.randrange(14, width // 2), rng.randrange(14, height // 2)
        texture = grain.integers(0, 256, (h, w, 3), np.uint8) // 2 + (60, 110)[number]
        place = rng.uniform(0, width - w), rng.uniform(0, height - h)
        sprites.append((texture.astype(np.uint8), place, (rng.uniform(-2, 2), rng.uniform(-2, 2))))
    boxes = [[int(x), int(y), texture.shape[1], texture.shape[0]] for texture, (x, y), _ in sprites]
    with VideoWriter(path, 25.0) as video:
        for frame in range(frames):
            image = ground.copy()
            for texture, (x, y), (dx, dy) in sprites:
                h, w = texture.shape[:2]
                left = int(abs((x + dx * frame + width - w) % (2 * (width - w)) - (width - w)))
                top = int(abs((y + dy * frame + height - h) % (2 * (height - h)) - (height - h)))
                image[top : top + h, left : left + w] = texture
            video.write(image)
    return [{"object_id": str(number), "box": box} for number, box in enumerate(boxes)]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What differs between an output and the reference; all zero is as it should be.

    Attributes:
        lost, doubled: clips without a row, and with more than one.
        rows_lost, rows_doubled: rows of `masks` likewise.
        different: clips whose row differs in more than times and names.
        lowest_iou: of all masks, 1.0 where all are equal; `unequal` counts those that are not.
        orphans: files below the output that no row stands behind, and nothing of a finished run is.
    """

    clips: int
    rows: int
    lost: int
    doubled: int
    rows_lost: int
    rows_doubled: int
    different: int
    unequal: int
    lowest_iou: float
    orphans: tuple[str, ...]

    @property
    def good(self) -> bool:
        faults = (self.lost, self.doubled, self.rows_lost, self.rows_doubled, self.different, len(self.orphans))
        return not any(faults) and self.lowest_iou >= 0.99


def compare(output: str, reference: str) -> Comparison:
    """Compare two outputs of one manifest, wherever they lie."""
    files = [entry.uri for entry in storage.list_files(output)]
    clips, want = _table(output, "clips"), _table(reference, "clips")
    masks, want_masks = _table(output, "masks"), _table(reference, "masks")
    ids, want_ids = Counter(clip["clip_id"] for clip in clips), Counter(clip["clip_id"] for clip in want)
    keys, want_keys = Counter(map(_key, masks)), Counter(map(_key, want_masks))
    known = {clip["clip_id"]: _lasting(clip) for clip in want}
    known_masks = {_key(row): row["mask"] for row in want_masks}
    ious = [
        1.0 if row["mask"] == known_masks[_key(row)] else _iou(row["mask"], known_masks[_key(row)])
        for row in masks
        if _key(row) in known_masks
    ]
    return Comparison(
        clips=len(clips),
        rows=len(masks),
        lost=len(want_ids - ids),
        doubled=(ids - want_ids).total(),
        rows_lost=len(want_keys - keys),
        rows_doubled=(keys - want_keys).total(),
        different=sum(_lasting(clip) != known.get(clip["clip_id"]) for clip in clips),
        unequal=sum(iou < 1 for iou in ious),
        lowest_iou=min(ious, default=1.0),
        orphans=_orphans(files, output, clips),
    )


def _orphans(files: list[str], output: str, clips: list[dict[str, Any]]) -> tuple[str, ...]:
    base = storage.parse(output).uri + "/"
    named = {clip["masks_part"] for clip in clips}
    found = []
    for uri in files:
        path = uri.removeprefix(base)
        folder, _, name = path.rpartition("/")
        top = folder.split("/")[0]
        expected = (
            (folder == "masks" and name in named)
            or (folder == "clips" and name.startswith("part-"))
            or (
                top == "_runs"
                and name in ("lease.json", "config.json", "report.json", "report.html", ".lease.json.lock")
            )
        )
        if not expected:
            found.append(path)
    return tuple(found)


def _table(output: str, name: str) -> list[dict[str, Any]]:
    tables = [
        pq.read_table(pa.BufferReader(storage.read_bytes(entry.uri)))
        for entry in storage.list_files(output, f"{name}/part-")
    ]
    return pa.concat_tables(tables).to_pylist() if tables else []


def _key(row: dict[str, Any]) -> tuple[str, str, int]:
    return row["clip_id"], row["object_id"], row["frame_index"]


def _lasting(clip: dict[str, Any]) -> dict[str, Any]:
    """What is the same in every run; means depend in their last bits on which tracks shared a batch."""
    lasting = {name: value for name, value in clip.items() if name not in _CHANGING}
    tracks = lasting.get("tracks") or []
    lasting["tracks"] = [
        {name: round(value, 4) if isinstance(value, float) else value for name, value in track.items()}
        for track in tracks
    ]
    return lasting


def _iou(one: dict[str, Any], other: dict[str, Any]) -> float:
    masks = [{"size": mask["size"], "counts": mask["counts"].encode()} for mask in (one, other)]
    if not any(coco.area(mask) for mask in masks):
        return 1.0
    return float(coco.iou([masks[0]], [masks[1]], [0])[0, 0])
