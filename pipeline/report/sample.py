"""Which clips a report shows: a random sample that is the same every time, failed and partial clips among it."""

from __future__ import annotations

import hashlib
import heapq
import itertools
from dataclasses import dataclass
from typing import Any

_BAD_SHARE = 0.25
"""Failed and partial clips get so much of the sample, if there are as many."""

_Item = tuple[int, int, dict[str, Any]]
"""Sort key, a number that no other row has, row: rows themselves cannot be compared."""

_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows of the `clips` table in the order of their ids, and how many clips they stand for."""

    clips: tuple[dict[str, Any], ...] = ()
    total: int = 0


class Sampler:
    """Keeps the rows whose ids have the smallest hashes, which no order of rows and no resumed run changes.

    Args:
        size: most rows of the sample.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._total = 0
        self._good: list[_Item] = []
        self._bad: list[_Item] = []

    def add(self, row: dict[str, Any]) -> None:
        """Take a row of `clips`."""
        self._total += 1
        if self._size:
            # Negative, since the heap's first is the one to drop: the largest hash.
            key = -int.from_bytes(hashlib.blake2b(row["clip_id"].encode(), digest_size=8).digest())
            self._keep(self._good if row["status"] == "ok" else self._bad, (key, next(_numbers), row))

    def join(self, other: Sampler) -> None:
        """Take all rows that the other has taken."""
        self._total += other._total
        for heap, others in ((self._good, other._good), (self._bad, other._bad)):
            for item in others:
                self._keep(heap, item)

    def _keep(self, heap: list[_Item], item: _Item) -> None:
        if len(heap) < self._size:
            heapq.heappush(heap, item)
        elif item[0] > heap[0][0]:
            heapq.heapreplace(heap, item)

    def sample(self) -> Sample:
        """The sample of all rows that have come."""
        share = max(1, round(self._size * _BAD_SHARE))
        bad = min(len(self._bad), max(share, self._size - len(self._good)), self._size)
        chosen = heapq.nlargest(bad, self._bad) + heapq.nlargest(self._size - bad, self._good)
        return Sample(tuple(row for _, _, row in sorted(chosen, key=lambda item: item[2]["clip_id"])), self._total)
