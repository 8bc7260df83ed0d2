"""Training sets in object storage."""

from __future__ import annotations

from pathlib import Path

from pipeline import storage


def upload(folder: Path, uri: str) -> str:
    """Upload a folder with all that is in it; returns the URI."""
    for path in folder.rglob("*"):
        if path.is_file():
            storage.upload_file(path, storage.join(uri, *path.relative_to(folder).parts))
    return uri
