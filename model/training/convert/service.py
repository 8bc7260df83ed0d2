"""The service's own output: the tables `clips` and `masks` of a run, as pseudo-labels."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.dataset as ds

from model.training.convert.files import ConvertError, Progress, relative, require
from model.training.data.tables import TableWriter

_CLIPS = ("clip_id", "video_uri", "status", "corrupt_frames", "end_frame", "width", "height", "fps", "masks_part")


def convert_service(
    run: Path, out: Path, *, videos: Path | None, least_score: float = 0.7, split: str = "train", progress: Progress
) -> int:
    """Write the tables of a run's clips that ended well; returns their number.

    Clips with undecodable frames are left out, since decoders do not agree on what follows those.

    Args:
        run: output folder of `jobs/segment.py`, on a local disk.
        out: folder of the tables.
        videos: what relative `video_uri`s are relative to: the folder of the run's manifest.
        least_score: rows below are left out, and so are empty masks.
        split: what the tables call it.
        progress: told of every clip.

    Raises:
        ConvertError: a table or a video is missing; names it.
    """
    clips = ds.dataset(require(run / "clips", "table of clips"), format="parquet")
    if missing := [name for name in _CLIPS if name not in clips.schema.names]:
        raise ConvertError(f"{run / 'clips'}: has no column {missing[0]!r}, so it is no table of clips")
    chosen = (pc.field("status") == "ok") & (pc.field("corrupt_frames") == 0)
    rows = clips.to_table(columns=list(_CLIPS), filter=chosen).to_pylist()
    rows.sort(key=lambda row: (row["masks_part"], row["clip_id"]))
    with TableWriter(out) as tables:
        for number, clip in enumerate(rows):
            path = require(run / "masks" / clip["masks_part"], "part of masks")
            wanted = (
                (pc.field("clip_id") == clip["clip_id"]) & (pc.field("score") >= least_score) & (pc.field("area") > 0)
            )
            columns = ["frame_index", "object_id", "mask", "area"]
            masks = ds.dataset(path, format="parquet").to_table(columns=columns, filter=wanted).to_pylist()
            tables.masks({"sequence": clip["clip_id"], "split": split, **row} for row in masks)
            tables.sequence(
                sequence=clip["clip_id"], split=split, video=_video(clip, videos, out), frames=clip["end_frame"],
                width=clip["width"], height=clip["height"], fps=clip["fps"],
            )  # fmt: skip
            progress(number + 1, len(rows))
    return len(rows)


def _video(clip: dict[str, Any], videos: Path | None, out: Path) -> str:
    uri = clip["video_uri"].removeprefix("file://")
    if "://" in uri:
        return uri
    if not os.path.isabs(uri):
        if videos is None:
            raise ConvertError(f"clip {clip['clip_id']}: video {uri} is relative; say to what with --videos")
        uri = str(videos / uri)
    return relative(require(Path(uri), f"video, of clip {clip['clip_id']},"), out)
