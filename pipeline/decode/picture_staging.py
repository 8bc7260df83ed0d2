"""Folders of pictures in object storage, staged as one local file that `model.video` reads."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

from model.video.errors import VideoError
from model.video.pictures import chosen_names, is_pattern
from pipeline import storage


def list_pictures(uri: str) -> list[storage.Entry]:
    """The pictures of a folder, or of a pattern such as `s3://bucket/frames/%05d.jpg`, in their order."""
    pattern = storage.name(uri) if is_pattern(uri) else None
    folder = uri if pattern is None else storage.parent(uri)
    entries = (entry for entry in storage.list_files(folder) if storage.parent(entry.uri) == folder)
    by_name = {storage.name(entry.uri): entry for entry in entries}
    return [by_name[name] for name in chosen_names(by_name, pattern)]


def download_pictures(
    uri: str, pictures: list[storage.Entry], path: Path, max_bytes: int | None, on_bytes: Callable[[int], None] | None
) -> None:
    """Write the pictures to a zip file, which appears only when it is whole.

    Raises:
        VideoError: `FileTooLarge`: together they have more than `max_bytes`.
    """
    size = sum(picture.size for picture in pictures)
    if max_bytes is not None and size > max_bytes:
        message = f"{storage.redact(uri)} has {len(pictures)} pictures of {size} bytes, the limit is {max_bytes}"
        raise VideoError("fetch", "FileTooLarge", message)
    part = path.with_name(f".{path.name}.pictures")
    with zipfile.ZipFile(part, "w") as archive:
        for picture in pictures:
            data = storage.read_bytes(picture.uri)
            archive.writestr(zipfile.ZipInfo(storage.name(picture.uri)), data)
            if on_bytes is not None:
                on_bytes(len(data))
    os.replace(part, path)
