"""Where relative video URIs of a run are seen from: the folders of its manifests."""

from __future__ import annotations

import json
from functools import cache

from pipeline import storage
from pipeline.output.names import RUNS_FOLDER


@cache
def manifest_folders(output: str, run_id: str) -> tuple[str, ...]:
    """The folders of the run's manifests, as its `config.json` has them; none where the run left no config."""
    try:
        config = json.loads(storage.read_bytes(storage.join(output, RUNS_FOLDER, run_id, "config.json")))
    except (storage.NotFound, ValueError):
        return ()
    return tuple(config.get("video_folders", ()))
