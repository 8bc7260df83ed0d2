"""What the clips parts of an output say, read once and kept current.

A run asks the same parts many things: which clips are finished, which parts have failed clips, which masks parts are
named, what the report says. The index reads each part once and keeps about 1 KB of it (33 clips): 0.3 GB for 10
million clips in 300,000 parts. A later `refresh` lists the parts and reads those that are new or have changed.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from pipeline import storage
from pipeline.clip_hashes import ClipHashes, digest
from pipeline.output.names import CLIPS_FOLDER, ClipsPart
from pipeline.output.parts import ListedPart, list_parts, read_parts
from pipeline.output.schema import CLIPS, version_of

_COLUMNS = ("clip_id", "clip_hash", "config_hash", "masks_part", "attempt", "run_id")


@dataclass(frozen=True, slots=True)
class PartOrigin:
    """Where the rows of a part come from; parts of one run share one.

    Attributes:
        run_id: the run of the first row.
        config_hashes: those of the rows, each once; one but for a part that nobody should have written.
        kept: the kept manifest columns, names and types.
        version: of the program that wrote the part.
    """

    run_id: str
    config_hashes: tuple[str, ...]
    kept: tuple[tuple[str, pa.DataType], ...]
    version: str


@dataclass(frozen=True, slots=True)
class IndexedPart:
    """What the index keeps of a clips part.

    Attributes:
        mark: a hash of the part's name, size, time and version in the store, which tells that it has changed.
        masks: names of the masks parts that its rows name, one at most but for a merge that was cut off.
        digests: 16 bytes a clip (`pipeline.clip_hashes.digest`).
        attempt: the highest of its rows.
        origin: where its rows come from.
    """

    mark: int
    masks: tuple[str, ...]
    digests: bytes
    attempt: int
    origin: PartOrigin


class PartReader(Protocol):
    """Someone who wants more of each part than the index keeps, without a second read."""

    columns: Sequence[str]
    """Names of the columns to read."""

    def add(self, part: ClipsPart, rows: pa.Table) -> None:
        """Take the rows of a part that was read."""

    def remove(self, status: str, left: int) -> None:
        """A part of this status, read before, is gone or will be read again; `left` other parts have the status."""


class OutputIndex:
    """The clips parts of an output. It does nothing before the first `refresh`.

    Args:
        output: URI of the output folder.
        reader: takes the rows of every part that is read.

    Attributes:
        parts: what is kept of each part, by its name, in the order in which they were read.
        examples: the id of a clip of each configuration.
    """

    def __init__(self, output: str, reader: PartReader | None = None) -> None:
        self.output = output
        self.parts: dict[str, IndexedPart] = {}
        self.examples: dict[str, str] = {}
        self._reader = reader
        self._columns = list(dict.fromkeys([*_COLUMNS, *(reader.columns if reader else ())]))
        self._shared: dict[PartOrigin, PartOrigin] = {}
        self._hashes: ClipHashes | None = None

    def refresh(self, *, until: float = math.inf) -> bool:
        """List the parts, read those that are new or have changed, and forget those that are gone.

        Args:
            until: a time of `time.monotonic` after which no further part is read.

        Returns:
            Whether the index is whole; False where time was up before.

        Raises:
            StorageError: the folder cannot be listed, or a part cannot be read; names it.
        """
        listed = list_parts(self.output)
        marks = {item.part.name: hash(item.entry) for item in listed}
        self.forget([name for name, part in self.parts.items() if marks.get(name) != part.mark])
        for item, content in read_parts((item for item in listed if item.part.name not in self.parts), self._columns):
            if time.monotonic() >= until:
                return False
            if content is None:
                continue
            self.parts[item.part.name] = self._indexed(item, content.schema, content.rows)
            self._hashes = None
            if self._reader:
                self._reader.add(item.part, content.rows)
        return True

    def of_status(self, *statuses: str) -> Iterator[tuple[str, IndexedPart]]:
        """Names and contents of the parts whose clips ended so."""
        return ((name, part) for name, part in self.parts.items() if status_of(name) in statuses)

    def delete(self, names: Sequence[str]) -> None:
        """Delete clips parts from the store and from the index. Raises StorageError."""
        storage.delete_many(storage.join(self.output, CLIPS_FOLDER, name) for name in names)
        self.forget(names)

    def forget(self, names: Iterable[str]) -> None:
        """Take parts out of the index alone."""
        gone = Counter(status_of(name) for name in names if self.parts.pop(name, None))
        if gone:
            self._hashes = None
            left = Counter(map(status_of, self.parts))
            for status in gone:
                if self._reader:
                    self._reader.remove(status, left[status])

    @property
    def hashes(self) -> ClipHashes:
        """The clips that have a row."""
        if self._hashes is None:
            self._hashes = hashes_of(self.parts.values())
        return self._hashes

    @property
    def kept_columns(self) -> dict[str, pa.DataType] | None:
        """The kept manifest columns, which all parts have in common; None where there is no part."""
        first = next(iter(self.parts.values()), None)
        return None if first is None else dict(first.origin.kept)

    def _indexed(self, item: ListedPart, schema: pa.Schema, rows: pa.Table) -> IndexedPart:
        columns = {name: rows[name].to_pylist() for name in _COLUMNS}
        for clip_id, config_hash in zip(columns["clip_id"], columns["config_hash"], strict=True):
            self.examples.setdefault(config_hash, clip_id)
        origin = PartOrigin(
            columns["run_id"][0] if len(rows) else "",
            tuple(dict.fromkeys(columns["config_hash"])),
            tuple((field.name, field.type) for field in schema if field.name not in CLIPS.names),
            version_of(schema),
        )
        return IndexedPart(
            hash(item.entry),
            tuple(sorted(set(columns["masks_part"]) - {None})),
            b"".join(map(digest, columns["clip_id"], columns["clip_hash"])),
            max((number or 0 for number in columns["attempt"]), default=0),
            self._shared.setdefault(origin, origin),
        )


def hashes_of(parts: Iterable[IndexedPart]) -> ClipHashes:
    """The clips of these parts."""
    hashes = ClipHashes()
    hashes.add(b"".join(part.digests for part in parts))
    return hashes


def status_of(name: str) -> str:
    """The status of the clips of a part, by its name."""
    part = ClipsPart.parse(name)
    assert part is not None, name
    return part.status
