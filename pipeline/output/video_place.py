"""Where the video of a clip is: `clips` has it as the manifest wrote it."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline import storage


def find_video(video_uri: str, folders: Sequence[str]) -> str | None:
    """The absolute URI of a clip's video; None where it cannot be told.

    Args:
        video_uri: as the manifest wrote it.
        folders: URIs of the folders of manifests that a relative `video_uri` may be seen from. Of several, the first in
            which there is such a file is taken.
    """
    if storage.is_absolute(video_uri):
        return storage.parse(video_uri).uri
    places = [storage.resolve(folder, video_uri) for folder in folders]
    if len(places) > 1:
        places = [place for place in places if storage.exists(place)]
    return places[0] if places else None
