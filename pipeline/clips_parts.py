"""Reading the parts of the `clips` table, many small files, as a stream."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.part_names import CLIPS_FOLDER, ClipsPart

log = logging.getLogger(__name__)

_READERS = 16
_IN_MEMORY_BYTES = 16 << 20


def clips_parts(output: str) -> Iterator[tuple[ClipsPart, storage.Entry, pa.Table]]:
    """The parts of `<output>/clips` with all their rows, as a stream; several are read at once, few are held.

    Raises:
        StorageError: a part cannot be read; names it.
    """
    found = list(list_parts(output))
    tables = read_parts(found, None)
    for (part, entry), (_, table) in zip(found, tables, strict=True):
        yield part, entry, table


def list_parts(output: str) -> Iterator[tuple[ClipsPart, storage.Entry]]:
    """The clips parts by shard and number."""
    found = []
    for entry in storage.list_files(output, f"{CLIPS_FOLDER}/"):
        part = ClipsPart.parse(storage.name(entry.uri))
        if part is not None:
            found.append((part, entry))
        elif entry.uri.endswith(".parquet"):
            log.warning("%s is no part of this output; it is left alone", storage.redact(entry.uri))
    found.sort(key=lambda one: (one[0].shard, one[0].number, one[0].status))
    return iter(found)


def read_parts(
    parts: Iterable[tuple[ClipsPart, storage.Entry]], columns: Sequence[str] | None
) -> Iterator[tuple[ClipsPart, pa.Table]]:
    """The rows of clips parts as a stream, in the order given; several are read at once, few are held.

    Args:
        parts: as `list_parts` gives them.
        columns: names of the columns to read; None for all.

    Raises:
        StorageError: a part cannot be read; names it.
    """
    with ThreadPoolExecutor(_READERS, thread_name_prefix="clips") as pool:
        ahead: deque[tuple[ClipsPart, Future[pa.Table]]] = deque()
        try:
            for part, entry in parts:
                ahead.append((part, pool.submit(_table, entry, columns)))
                if len(ahead) >= 2 * _READERS:
                    first, future = ahead.popleft()
                    yield first, future.result()
            while ahead:
                first, future = ahead.popleft()
                yield first, future.result()
        finally:
            for _, future in ahead:
                future.cancel()


def _table(entry: storage.Entry, columns: Sequence[str] | None) -> pa.Table:
    chosen = list(columns) if columns is not None else None
    if entry.size <= _IN_MEMORY_BYTES:
        data = storage.read_bytes(entry.uri)
        with storage.reporting(entry.uri, "read"):
            return pq.read_table(pa.BufferReader(data), columns=chosen)
    filesystem, path = storage.filesystem_for(entry.uri)
    with storage.reporting(entry.uri, "read"):
        return pq.read_table(path, filesystem=filesystem, columns=chosen)
