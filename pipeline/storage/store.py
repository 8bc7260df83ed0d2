"""What a kind of storage has to offer: the protocol behind the functions of `pipeline.storage`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from pyarrow import fs

from pipeline.storage.errors import StorageError, TooLarge
from pipeline.storage.uris import Location

OnBytes = Callable[[int], None]
"""Called with the number of bytes just received; may raise to stop the download."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An object as a listing tells of it.

    Attributes:
        uri: canonical.
        size: bytes.
        modified: when it was last written (UTC).
        version: changes with every write; empty where the store does not say.
    """

    uri: str
    size: int
    modified: datetime
    version: str = ""


@dataclass(frozen=True, slots=True)
class Versioned:
    """Bytes and the opaque version that a conditional overwrite of them needs."""

    data: bytes
    version: str


class Store(Protocol):
    """One kind of storage. All methods raise `StorageError`; `create` and `replace` are atomic and whole."""

    def filesystem(self, location: Location) -> tuple[fs.FileSystem, str]: ...

    def entry(self, location: Location) -> Entry | None: ...

    def entries(self, folder: Location, below: str) -> Iterator[Entry]: ...

    def read(self, location: Location) -> Versioned: ...

    def download(self, location: Location, path: Path, max_bytes: int | None, on_bytes: OnBytes | None) -> int: ...

    def upload(self, location: Location, path: Path) -> None: ...

    def create(self, location: Location, data: bytes) -> str | None: ...

    def replace(self, location: Location, data: bytes, version: str) -> str | None: ...

    def delete(self, places: Iterable[Location]) -> None: ...

    def abort_uploads(self, folder: Location) -> int: ...


def too_large(location: Location, size: int, limit: int) -> StorageError:
    """The error for an object over the caller's limit."""
    return TooLarge(location.uri, "download", f"it has {size} bytes, more than the limit of {limit}", "raise the limit")
