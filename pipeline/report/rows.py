"""How many rows the `masks` table has, from the footers of its parts."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self

import pyarrow.parquet as pq

from pipeline import storage
from pipeline.part_names import MASKS_FOLDER

_READERS = 16


@dataclass(slots=True)
class MaskRows:
    """Rows of all parts, of those that one run committed, and how many parts could not be read."""

    all: int = 0
    mine: int = 0
    unread: int = 0


class MaskRowCounter:
    """Counts the rows of parts as their names come; a few footers are read at once, few results are held.

    A name may come many times, as in the rows of a clips part.
    """

    def __init__(self, output: str) -> None:
        self._output = output
        self._pool = ThreadPoolExecutor(_READERS, thread_name_prefix="footers")
        self._ahead: deque[tuple[Future[int], bool]] = deque()
        self._rows = MaskRows()
        self._seen: set[int] = set()  # hashes take a tenth of the names' memory

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def add(self, part: str, *, mine: bool) -> None:
        """Count the part of this name."""
        if (mark := hash(part)) not in self._seen:
            self._seen.add(mark)
            self._ahead.append((self._pool.submit(self._count, part), mine))
            if len(self._ahead) > 4 * _READERS:
                self._take()

    def total(self) -> MaskRows:
        """The count of all parts that have come."""
        while self._ahead:
            self._take()
        return self._rows

    def _take(self) -> None:
        future, mine = self._ahead.popleft()
        try:
            rows = future.result()
        except storage.StorageError:
            self._rows.unread += 1
        else:
            self._rows.all += rows
            self._rows.mine += rows if mine else 0

    def _count(self, part: str) -> int:
        uri = storage.join(self._output, MASKS_FOLDER, part)
        filesystem, path = storage.filesystem_for(uri)
        with storage.reporting(uri, "read"):
            return pq.read_metadata(path, filesystem=filesystem).num_rows
