"""How many rows the `masks` table has, from the footers of its parts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow.parquet as pq

from pipeline import storage
from pipeline.output.names import MASKS_FOLDER
from pipeline.storage.ahead import read_ahead


@dataclass(slots=True)
class MaskRows:
    """Rows of all parts, of those that one run committed, and how many parts could not be read."""

    all: int = 0
    this_run: int = 0
    unread: int = 0


def count_mask_rows(output: str, parts: Iterable[tuple[str, bool]]) -> MaskRows:
    """Counts the rows of masks parts; several footers are read at once.

    Args:
        output: URI of the output folder.
        parts: names of the masks parts, each once, and whether the run that is told apart committed them.
    """

    def count(part: tuple[str, bool]) -> int | None:
        uri = storage.join(output, MASKS_FOLDER, part[0])
        try:
            filesystem, path = storage.filesystem_for(uri)
            with storage.reporting(uri, "read"):
                return pq.read_metadata(path, filesystem=filesystem).num_rows
        except storage.StorageError:
            return None

    total = MaskRows()
    for (_, this_run), rows in read_ahead(parts, count, name="footers"):
        if rows is None:
            total.unread += 1
        else:
            total.all += rows
            total.this_run += rows if this_run else 0
    return total
