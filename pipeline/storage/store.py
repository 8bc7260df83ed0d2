"""What a kind of storage has to offer: the protocol behind the functions of `pipeline.storage`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from pyarrow import fs

from pipeline.storage.uris import Location

OnBytes = Callable[[int], None]
"""Called with the number of bytes just received; may raise to stop the download."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An object: its canonical URI, its size in bytes and when it was last written (UTC)."""

    uri: str
    size: int
    modified: datetime


@dataclass(frozen=True, slots=True)
class Versioned:
    """Bytes and the opaque version that a conditional overwrite of them needs."""

    data: bytes
    version: str


class Store(Protocol):
    """One kind of storage. All methods raise `StorageError`; `create` and `replace` are atomic and whole."""

    def filesystem(self, at: Location) -> tuple[fs.FileSystem, str]: ...

    def entry(self, at: Location) -> Entry | None: ...

    def entries(self, folder: Location, below: str) -> Iterator[Entry]: ...

    def read(self, at: Location) -> Versioned: ...

    def download(self, at: Location, path: Path, max_bytes: int | None, on_bytes: OnBytes | None) -> int: ...

    def upload(self, at: Location, path: Path) -> None: ...

    def create(self, at: Location, data: bytes) -> str | None: ...

    def replace(self, at: Location, data: bytes, version: str) -> str | None: ...

    def delete(self, places: Iterable[Location]) -> None: ...

    def abort_uploads(self, folder: Location) -> int: ...
