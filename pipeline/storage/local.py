"""Files on a local or mounted file system, with the same promises as an object store.

A file appears under its name only when it is whole and on disk: it is written beside it under a hidden
temporary name (`.name.<random>.tmp`), flushed, then renamed or linked.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from pyarrow import fs

from pipeline.storage.errors import NotFound, StorageError
from pipeline.storage.locks import locked
from pipeline.storage.retry import retrying
from pipeline.storage.settings import Settings
from pipeline.storage.store import Entry, OnBytes, Versioned
from pipeline.storage.uris import Location

TEMPORARY_SUFFIX = ".tmp"
_CHUNK = 1 << 20


class LocalStore:
    """The `Store` of local paths."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def filesystem(self, location: Location) -> tuple[fs.FileSystem, str]:
        """pyarrow's local file system and the path."""
        return fs.LocalFileSystem(), location.key

    def entry(self, location: Location) -> Entry | None:
        """Size and age of the file, or None where there is none."""
        try:
            found = self._run(location, "look at", lambda: os.stat(location.key))
        except NotFound:
            return None
        return _entry(location.key, found) if os.path.isfile(location.key) else None

    def entries(self, folder: Location, below: str) -> Iterator[Entry]:
        """All files below a folder whose path there starts with `below`, in no particular order."""
        pending = [folder.key]
        while pending:
            here = pending.pop()
            relative = "" if here == folder.key else os.path.relpath(here, folder.key) + "/"
            try:
                children = self._run(Location(None, here), "list the folder", partial(_scan, here))
            except NotFound:
                continue
            for child in children:
                path = relative + child.name
                if child.is_dir() and (path.startswith(below) or below.startswith(path + "/")):
                    pending.append(child.path)
                elif path.startswith(below) and child.is_file():
                    with contextlib.suppress(FileNotFoundError):
                        yield _entry(child.path, child.stat())

    def read(self, location: Location) -> Versioned:
        """The file's bytes and version (a hash of them)."""
        data = self._run(location, "read", lambda: Path(location.key).read_bytes())
        return Versioned(data, _version(data))

    def download(self, location: Location, path: Path, max_bytes: int | None, on_bytes: OnBytes | None) -> int:
        """Copies the file into `path`."""
        from pipeline.storage.store import too_large

        def copy() -> int:
            with open(location.key, "rb") as source, open(path, "wb") as target:
                size = os.fstat(source.fileno()).st_size
                if max_bytes is not None and size > max_bytes:
                    raise too_large(location, size, max_bytes)
                while chunk := source.read(_CHUNK):
                    target.write(chunk)
                    if on_bytes is not None:
                        on_bytes(len(chunk))
                return target.tell()

        return self._run(location, "download", copy)

    def upload(self, location: Location, path: Path) -> None:
        """Copies a file into place."""

        def fill(file: BinaryIO) -> None:
            with open(path, "rb") as source:
                shutil.copyfileobj(source, file, _CHUNK)

        self._run(location, "write", lambda: _publish(location, fill, os.replace))

    def create(self, location: Location, data: bytes) -> str | None:
        """Writes a new file; its version, or None where there was one already."""
        try:
            self._run(location, "write", lambda: _publish(location, lambda file: file.write(data), _link))
        except _Exists:
            return None
        return _version(data)

    def replace(self, location: Location, data: bytes, version: str) -> str | None:
        """Overwrites the file if it still has `version`; the new version, or None where it has not."""

        def swap() -> str | None:
            with locked(_lock_path(location), 0o666):  # an output may be shared by several users
                try:
                    if _version(Path(location.key).read_bytes()) != version:
                        return None
                except FileNotFoundError:
                    return None
                _publish(location, lambda file: file.write(data), os.replace)
                return _version(data)

        try:
            return self._run(location, "write", swap)
        except NotFound:
            return None

    def delete(self, places: Iterable[Location]) -> None:
        """Deletes files and what `replace` left beside them; absent ones are no error."""
        for location in places:
            for path in (location.key, _lock_path(location)):
                with contextlib.suppress(NotFound):
                    self._run(location, "delete", partial(os.unlink, path))

    def abort_uploads(self, folder: Location) -> int:
        """Deletes the temporary files below a folder; returns how many."""
        stale = [
            entry
            for entry in self.entries(folder, "")
            if entry.uri.endswith(TEMPORARY_SUFFIX) and os.path.basename(entry.uri).startswith(".")
        ]
        self.delete(Location(None, entry.uri) for entry in stale)
        return len(stale)

    def _run(self, location: Location, action: str, operation: Callable[[], Any]) -> Any:
        return retrying(location.uri, action, self.settings.retry_s, operation)


class _Exists(Exception):
    """The name is taken."""


def _publish(location: Location, fill: Callable[[BinaryIO], object], place: Callable[[str, str], None]) -> None:
    folder, base = os.path.split(location.key)
    os.makedirs(folder, exist_ok=True)
    temporary = os.path.join(folder, f".{base}.{uuid.uuid4().hex[:8]}{TEMPORARY_SUFFIX}")
    try:
        with open(temporary, "wb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        place(temporary, location.key)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
    _sync_folder(folder)


def _lock_path(location: Location) -> str:
    folder, base = os.path.split(location.key)
    return os.path.join(folder, f".{base}.lock")


def _scan(folder: str) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as children:
        return list(children)


def _link(temporary: str, path: str) -> None:
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise _Exists from None
    except (PermissionError, NotImplementedError) as error:
        # exFAT and some FUSE mounts answer "not permitted" to every hard link.
        raise StorageError(
            path,
            "create",
            f"{type(error).__name__} on a hard link",
            "the file system must support hard links, which make a commit whole or nothing; use another or s3://",
        ) from None


def _sync_folder(folder: str) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _version(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _entry(path: str, status: os.stat_result) -> Entry:
    modified = datetime.fromtimestamp(status.st_mtime, UTC)
    return Entry(path, status.st_size, modified, f"{status.st_ino}-{status.st_mtime_ns}")
