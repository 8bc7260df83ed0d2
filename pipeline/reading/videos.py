"""Where the video of a clip is: `clips` has it as the manifest wrote it."""

from __future__ import annotations

import json
import re
from functools import cache

from pipeline import storage

_FILE = re.compile(r"\.(jsonl|ndjson|json|parquet|csv)$", re.IGNORECASE)


class VideoUnknown(Exception):
    """The video's place cannot be told; one sentence that says what to do."""


def locate(output: str, clip_id: str, video_uri: str, run_id: str | None, videos: str | None) -> str:
    """The absolute URI of a clip's video.

    Args:
        output: URI of the output folder.
        clip_id: the clip, for the message.
        video_uri: as the manifest wrote it.
        run_id: the run that committed the clip; its `config.json` names the manifest.
        videos: the folder that a relative `video_uri` is taken from, in place of the manifest's own.

    Raises:
        VideoUnknown: `video_uri` is relative and the manifest's folder is not known.
    """
    if storage.is_absolute(video_uri):
        return storage.parse(video_uri).uri
    folder = videos or _manifest_folder(output, run_id)
    if folder is None:
        raise VideoUnknown(
            f"clip {clip_id}: its video is {video_uri!r}, seen from a manifest whose folder is not known: "
            "say which folder that is"
        )
    return storage.resolve(folder, video_uri)


@cache
def _manifest_folder(output: str, run_id: str | None) -> str | None:
    """The folder of the run's manifest; None where the run left no config, or where a glob names several."""
    try:
        config = json.loads(storage.read_bytes(storage.join(output, "_runs", run_id or "-", "config.json")))
        manifest = config["options"]["manifest"]
    except (storage.StorageError, ValueError, KeyError):
        return None
    folder = manifest.rstrip("/").rpartition("/")[0] if _FILE.search(manifest) or "*" in manifest else manifest
    return None if re.search(r"[*?\[]", folder) else folder or "."
