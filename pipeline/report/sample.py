"""Which clips a report shows: a random sample that is the same every time, failed and partial clips among it."""

from __future__ import annotations

import hashlib
import heapq
from dataclasses import dataclass
from typing import Any

_BAD_SHARE = 0.25
"""Failed and partial clips get so much of the sample, if there are as many."""


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
        self._good: list[tuple[int, str, dict[str, Any]]] = []
        self._bad: list[tuple[int, str, dict[str, Any]]] = []

    def add(self, row: dict[str, Any]) -> None:
        """Take a row of `clips`."""
        self._total += 1
        if self._size:
            heap = self._good if row["status"] == "ok" else self._bad
            # Negative, since the heap's first is the one to drop: the largest hash.
            key = -int.from_bytes(hashlib.blake2b(row["clip_id"].encode(), digest_size=8).digest())
            if len(heap) < self._size:
                heapq.heappush(heap, (key, row["clip_id"], row))
            elif key > heap[0][0]:
                heapq.heapreplace(heap, (key, row["clip_id"], row))

    def sample(self) -> Sample:
        """The sample of all rows that have come."""
        share = max(1, round(self._size * _BAD_SHARE))
        bad = min(len(self._bad), max(share, self._size - len(self._good)), self._size)
        chosen = heapq.nlargest(bad, self._bad) + heapq.nlargest(self._size - bad, self._good)
        return Sample(tuple(row for _, _, row in sorted(chosen, key=lambda one: one[1])), self._total)
