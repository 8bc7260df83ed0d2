"""Counts what is asked of a store, local or S3, by the methods that all requests of `pipeline.storage` go through."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from pipeline.storage.local import LocalStore
from pipeline.storage.s3 import S3Store
from pipeline.storage.uris import Location


@dataclass(slots=True)
class Requests:
    """Reads by URI, and listings by the start of the paths that were listed."""

    reads: Counter[str] = field(default_factory=Counter)
    listings: Counter[str] = field(default_factory=Counter)

    def most_reads(self, folder: str) -> int:
        """Of any one file in a folder of the output."""
        return max((count for uri, count in self.reads.items() if f"/{folder}/" in uri), default=0)

    def clear(self) -> None:
        self.reads.clear()
        self.listings.clear()


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> Requests:
    """What this process reads and lists from here on."""
    counted = Requests()
    for store in (LocalStore, S3Store):

        def read(self: Any, at: Location, real: Any = store.read) -> Any:
            counted.reads[at.uri] += 1
            return real(self, at)

        def entries(self: Any, folder: Location, below: str, real: Any = store.entries) -> Iterator[Any]:
            counted.listings[below] += 1
            return real(self, folder, below)

        def filesystem(self: Any, at: Location, real: Any = store.filesystem) -> Any:
            counted.reads[at.uri] += 1
            return real(self, at)

        for method in (read, entries, filesystem):
            monkeypatch.setattr(store, method.__name__, method)
    return counted
