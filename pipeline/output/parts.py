"""Reading the parts of the `clips` table, many small files, as a stream."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.output.names import CLIPS_FOLDER, ClipsPart
from pipeline.storage.ahead import read_ahead

log = logging.getLogger(__name__)

_IN_MEMORY_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class ListedPart:
    """A clips part as the store lists it."""

    part: ClipsPart
    entry: storage.Entry


@dataclass(frozen=True, slots=True)
class PartRows:
    """What a clips part holds.

    Attributes:
        schema: of the whole file, with its metadata.
        rows: the columns that were asked for.
    """

    schema: pa.Schema
    rows: pa.Table


def list_parts(output: str) -> list[ListedPart]:
    """The clips parts by shard and number.

    Raises:
        StorageError: the folder cannot be listed.
    """
    listed = []
    for entry in storage.list_files(output, f"{CLIPS_FOLDER}/"):
        part = ClipsPart.parse(storage.name(entry.uri))
        if part is not None:
            listed.append(ListedPart(part, entry))
        elif entry.uri.endswith(".parquet"):
            log.warning("%s is no part of this output; it is left alone", storage.redact(entry.uri))
    listed.sort(key=lambda item: (item.part.shard, item.part.number, item.part.status))
    return listed


def read_parts(
    listed: Iterable[ListedPart], columns: Sequence[str] | None = None
) -> Iterator[tuple[ListedPart, PartRows | None]]:
    """What clips parts hold, as a stream in the order given; several are read at once, few are held.

    Args:
        listed: as `list_parts` gives them.
        columns: names of the columns to read; None for all.

    Returns:
        Each part with its rows, or with None where it was removed after it was listed.

    Raises:
        StorageError: a part cannot be read; names it.
    """
    return read_ahead(listed, partial(_read, columns=columns), name="clips")


def _read(listed: ListedPart, columns: Sequence[str] | None) -> PartRows | None:
    uri = listed.entry.uri
    try:
        source = _opened(listed.entry)
    except storage.NotFound:
        return None
    with source, storage.reporting(uri, "read"), pq.ParquetFile(source) as file:
        return PartRows(file.schema_arrow, file.read(None if columns is None else list(columns)))


def _opened(entry: storage.Entry) -> pa.NativeFile:
    """A small part in memory, by one request; a large one as a file of the store."""
    if entry.size <= _IN_MEMORY_BYTES:
        return pa.BufferReader(storage.read_bytes(entry.uri))
    filesystem, path = storage.filesystem_for(entry.uri)
    with storage.reporting(entry.uri, "open"):
        return filesystem.open_input_file(path)
