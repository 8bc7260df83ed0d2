"""A small output with known contents, for the tests of what reads outputs: five clips, each with something of its own.

| clip | |
|---|---|
| `alpha` | frames 4 to 27 of 30; `a`, a boat, in all, `b`, a gull, from 10 on; 12 could not be decoded |
| `crowd` | three persons that overlap, scores that change; `z` is lost in frames 3 and 4 |
| `cut` | partial: rows in frames 0 to 5 of 10 |
| `lost` | failed: no rows, no video |
| `odd` | 101x75 pixels, every third of 20 frames tracked |

Its folder also holds what a killed run leaves: a masks part that no row of `clips` names, and a second commit of `odd`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
from pycocotools import mask as coco

from pipeline import storage
from pipeline.actor.track_sums import TrackSums
from pipeline.output.schema import CLIPS, MaskRow, clips_table, masks_batch
from pipeline.output.spool import write_masks
from tests.pipeline.output_rows import Result
from tests.pipeline.videos import make_video

FPS = 30
LOST_FRAMES = (3, 4)
"""Of the object `z` of the clip `crowd`."""
RUN_ID = "20260102T030405-0a1b2c3d"
CATEGORIES = {("alpha", "a"): "boat", ("alpha", "b"): "gull", **{("crowd", name): "person" for name in "xyz"}}


@dataclass(frozen=True)
class Track:
    """One true row of `masks`."""

    clip_id: str
    object_id: str
    frame: int
    score: float
    mask: np.ndarray
    box: tuple[float, float, float, float]
    corners: tuple[float, ...]

    @property
    def area(self) -> int:
        return int(self.mask.sum())

    @property
    def presence(self) -> float:
        return 0.125 if self.is_lost else 0.875

    @property
    def state(self) -> str:
        return "lost" if self.is_lost else "tracked"

    @property
    def is_lost(self) -> bool:
        return (self.clip_id, self.object_id) == ("crowd", "z") and self.frame in LOST_FRAMES


@dataclass(frozen=True)
class ExampleRun:
    """The output's folder, its videos by clip, and the true rows of both tables."""

    folder: Path
    videos: dict[str, Path]
    tracks: list[Track]
    clips: dict[str, dict[str, Any]]

    @property
    def output(self) -> str:
        return str(self.folder / "run")

    def of(self, clip_id: str) -> list[Track]:
        return [track for track in self.tracks if track.clip_id == clip_id]

    def upload(self, uri: str) -> str:
        """Copies output and videos to object storage; returns the output's URI."""
        for path in sorted(self.folder.rglob("*")):
            if path.is_file() and path.name != "config.json":
                storage.upload_file(path, f"{uri}/{path.relative_to(self.folder).as_posix()}")
        _write_config(f"{uri}/run", uri)
        return f"{uri}/run"


def _oval(shape: tuple[int, int], centre: tuple[float, float], radius: int) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    cv2.ellipse(mask, (round(centre[0]), round(centre[1])), (radius, radius * 2 // 3), 30, 0, 360, 1, -1)
    return mask.astype(bool)


def _track(clip_id: str, object_id: str, frame: int, score: float, mask: np.ndarray, slant: float = 0.25) -> Track:
    x, y, w, h = coco.toBbox(coco.encode(np.asfortranarray(mask, np.uint8))).tolist()
    lean = slant * w
    corners = (x + lean, y, x + w, y + h / 3, x + w - lean, y + h, x, y + 2 * h / 3)
    return Track(clip_id, object_id, frame, score, mask, (x, y, w, h), corners)


def _tracks() -> Iterator[Track]:
    for frame in range(4, 28):
        if frame != 12:
            yield _track(
                "alpha", "a", frame, 1 - frame / 100, _oval((96, 160), (20 + 4 * frame + 5 * (frame == 20), 30), 16)
            )
            if frame >= 10:
                yield _track(
                    "alpha",
                    "b",
                    frame,
                    0.5 + frame / 100,
                    _oval((96, 160), (130 - 3 * frame - 4 * (frame == 15), 66), 16),
                )
    for frame in range(8):
        for number, object_id in enumerate(("x", "y", "z")):
            # Who is in front changes from frame to frame; in the last, all are equal.
            score = 0.5 if frame == 7 else ((frame * 3 + number * 5) % 8) / 8
            yield _track(
                "crowd",
                object_id,
                frame,
                score,
                _oval((96, 128), (40 + 14 * number + frame**3 // 20, 48 + number * frame // 8), 20),
            )
    for frame in range(6):
        mask = np.zeros((96, 128), bool) if frame == 3 else _oval((96, 128), (30 + 5 * frame, 40), 12)
        yield _track("cut", "0", frame, 0.9, mask)
    for frame in range(0, 20, 3):
        yield _track("odd", "007", frame, 0.8 - frame / 50, _oval((75, 101), (30 + frame * frame // 9, 40), 14))


def _row(track: Track) -> MaskRow:
    rle = coco.encode(np.asfortranarray(track.mask, np.uint8))
    x, y, w, h = track.box
    result = Result(
        {"size": list(track.mask.shape), "counts": rle["counts"].decode()},
        track.area,
        (x + w / 2, y + h / 2, max(w, h), min(w, h), 10.0 * (track.frame % 9) - 40),
        track.corners,
        track.area > 0,
    )
    category = CATEGORIES.get((track.clip_id, track.object_id))
    measures = track.score, track.presence, track.state
    return MaskRow(track.object_id, track.frame, track.frame / FPS, *measures, track.box, *result, category)


def _write_config(output: str, folder: str) -> None:
    config = json.dumps({"video_folders": [folder]})
    storage.write_bytes(storage.join(output, "_runs", RUN_ID, "config.json"), config.encode())


def _clip(clip_id: str, end: int, size: tuple[int, int], part: str | None, **more: Any) -> dict[str, Any]:
    height, width = size
    return {
        "clip_id": clip_id,
        "video_uri": f"videos/{clip_id}.mkv",
        "status": "ok",
        "objects": 1,
        "frames": end,
        "corrupt_frames": 0,
        "start_frame": 0,
        "end_frame": end,
        "fps": float(FPS),
        "timing": "exact",
        "width": width,
        "height": height,
        "rotation": 0,
        "mirrored": False,
        "codec": "h264",
        "decoder": "decord",
        "masks_part": part,
        "run_id": RUN_ID,
        "attempt": 1,
        "decode_wait_s": 0.25 * end,
        "model": "siammask-r18",
        "precision": "fp32",
        "config_hash": "c",
        "clip_hash": clip_id,
        **more,
    }


def write_example(folder: Path) -> ExampleRun:
    """Writes videos and output below an empty folder."""
    videos = {
        "alpha": make_video(folder / "alpha.mkv", 30, width=160, height=96),
        "crowd": make_video(folder / "crowd.mkv", 8),
        "cut": make_video(folder / "cut.mkv", 10),
        "odd": make_video(folder / "odd.mkv", 20, width=101, height=75, codec="ffv1", pix_fmt="yuv444p"),
    }
    (folder / "videos").mkdir()
    videos = {clip_id: path.rename(folder / "videos" / path.name) for clip_id, path in videos.items()}
    names = {shard: f"part-{shard}-{shard * 3}.parquet" for shard in ("0aa1", "0bb2", "0cc3", "0dd4", "0ee5")}
    clips = {
        "alpha": _clip("alpha", 28, (96, 160), names["0aa1"], start_frame=4, objects=2, frames=23, corrupt_frames=1),
        "crowd": _clip("crowd", 8, (96, 128), names["0aa1"], objects=3),
        "odd": _clip("odd", 20, (75, 101), names["0bb2"], frames=7, precision="bf16"),
        "cut": _clip(
            "cut",
            10,
            (96, 128),
            names["0cc3"],
            status="partial",
            frames=6,
            error_stage="decode",
            error_type="Truncated",
            error_message="cut.mkv ends early",
        ),
        "lost": _clip(
            "lost",
            0,
            (0, 0),
            None,
            status="failed",
            frames=0,
            fps=None,
            width=None,
            height=None,
            start_frame=None,
            end_frame=None,
            codec=None,
            error_stage="fetch",
            error_type="NotFound",
            error_message="lost.mkv is not there",
        ),
    }
    tracks = list(_tracks())
    for clip_id, row in clips.items():
        sums = TrackSums()
        consumed = list(sums.counted(_row(track) for track in tracks if track.clip_id == clip_id))
        row["tracks"] = sums.values() if consumed else None
    (folder / "run" / "masks").mkdir(parents=True)
    (folder / "run" / "clips").mkdir()

    def write(shard: str, clip_ids: list[str]) -> None:
        chosen = sorted((t for t in tracks if t.clip_id in clip_ids), key=lambda t: (t.clip_id, t.object_id, t.frame))
        batches = [masks_batch(track.clip_id, [_row(track)]) for track in chosen]
        write_masks(folder / "run" / "masks" / names[shard], batches)

    def commit(name: str, rows: list[dict[str, Any]]) -> None:
        pq.write_table(clips_table(rows, CLIPS), folder / "run" / "clips" / name)

    write("0aa1", ["alpha", "crowd"])
    write("0bb2", ["odd"])
    write("0cc3", ["cut"])
    write("0dd4", ["alpha", "cut"])  # a commit cut off between its two files
    write("0ee5", ["odd"])  # the same clip by another attempt
    commit("part-0aa1-0000.parquet", [clips["alpha"], clips["crowd"]])
    commit("part-0aa1-0001-failed.parquet", [clips["lost"]])
    commit("part-0bb2-0000.parquet", [clips["odd"]])
    commit("part-0cc3-0000-partial.parquet", [clips["cut"]])
    commit("part-0ee5-0000.parquet", [{**clips["odd"], "masks_part": names["0ee5"], "precision": "fp16"}])
    example = ExampleRun(folder, videos, tracks, clips)
    _write_config(example.output, str(folder))
    return example
