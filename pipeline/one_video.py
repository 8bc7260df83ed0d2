"""One video and its boxes straight from the command line, in place of a manifest: `--video` and `--box`."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from model.start_box import parse_boxes
from pipeline import storage
from pipeline.options import UsageError


def manifest_row(video: str, boxes: Sequence[str]) -> str:
    """The video as one row of a manifest in JSON Lines, the same for the same video however its path is written.

    Args:
        video: URI, or a path from the working directory.
        boxes: as `model.start_box.parse_boxes` reads them.

    Raises:
        UsageError: there is no such video.
    """
    try:
        location = storage.parse(video).uri
        found = storage.exists(location)
    except storage.StorageError as error:
        raise UsageError(f"--video: {error}") from error
    if not found:
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
