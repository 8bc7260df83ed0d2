"""Where the video of a clip is: `clips` has it as the manifest wrote it."""

from __future__ import annotations

import json
from functools import cache

from pipeline import storage


def locate(output: str, video_uri: str, run_id: str, videos: str | None) -> str | None:
    """The absolute URI of a clip's video; None where it cannot be told.

    Args:
        output: URI of the output folder.
        video_uri: as the manifest wrote it.
        run_id: the run that committed the clip; its `config.json` names the manifest's folders.
        videos: the folder that a relative `video_uri` is taken from, in place of the manifest's own.

    Of several folders of manifests, the first in which there is such a file is taken.
    """
    if storage.is_absolute(video_uri):
        return storage.parse(video_uri).uri
    folders = (videos,) if videos is not None else _manifest_folders(output, run_id)
    places = [storage.resolve(folder, video_uri) for folder in folders]
    if len(places) > 1:
        places = [place for place in places if storage.exists(place)]
    return places[0] if places else None


@cache
def _manifest_folders(output: str, run_id: str) -> tuple[str, ...]:
    """The folders of the run's manifests; none where the run left no config."""
    try:
        config = json.loads(storage.read_bytes(storage.join(output, "_runs", run_id, "config.json")))
    except (storage.NotFound, ValueError):
        return ()
    return tuple(config.get("video_folders", ()))
