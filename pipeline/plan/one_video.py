"""One video and its boxes straight from the command line, in place of a manifest: `--video` and `--box`."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.dataset as ds

from model.track.start_box import parse_boxes
from pipeline import storage
from pipeline.clip import default_clip_id
from pipeline.errors import UsageError


def manifest_row(video: str, boxes: Sequence[str]) -> str:
    """The video as one row of a manifest in JSON Lines, the same for the same video however its path is written.

    Args:
        video: URI, or a path from the working directory.
        boxes: as `model.track.start_box.parse_boxes` reads them.

    Raises:
        UsageError: there is no such video.
    """
    try:
        location = storage.parse(video).uri
        exists = storage.exists(location)
    except storage.StorageError as error:
        raise UsageError(f"--video: {error}") from error
    if not exists:
        raise UsageError(f"--video {storage.redact(video)}: no such file or object")
    objects = []
    for start in parse_boxes(boxes):
        frame = {} if start.frame is None else {"init_frame": start.frame}
        objects.append({"object_id": start.object_id, **frame, "box": list(start.box)})
    return json.dumps({"video_uri": location, "objects": objects}) + "\n"


def write_manifest(video: str, boxes: Sequence[str]) -> tuple[str, tempfile.TemporaryDirectory]:
    """Write that row to a file of this machine; returns its path and the folder that it goes away with.

    Raises:
        UsageError: see `manifest_row`.
    """
    row = manifest_row(video, boxes)
    folder = tempfile.TemporaryDirectory(prefix="siammask-manifest-")
    path = Path(folder.name) / "manifest.jsonl"
    path.write_text(row)
    return str(path), folder


def what_next(video: str, output: str) -> str:
    """After a run: how to draw the video, or why it failed.

    Raises:
        StorageError: the tables cannot be read.
    """
    clip_id = default_clip_id(storage.parse(video).uri)
    clips = storage.join(output, "clips")
    filesystem, path = storage.filesystem_for(clips)
    with storage.reporting(clips, "read"):
        table = ds.dataset(path, filesystem=filesystem, format="parquet")
        (clip,) = table.to_table(filter=pc.field("clip_id") == clip_id).to_pylist()
    if clip["status"] == "failed":
        return f"{storage.redact(video)} failed ({clip['error_stage']}): {clip['error_message']}"
    shown = storage.redact(output).rstrip("/")
    return f"to draw it: python jobs/render.py --run {shown} --clips {clip_id} --output {shown}-videos"
