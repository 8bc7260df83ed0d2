"""Sixteen bytes a clip: all that the driver remembers of a manifest, and of what an output already holds.

A digest is 10 bytes of SHA-256 over the `clip_id`, then the first 6 bytes of the `clip_hash`. Two of 10 million ids
fall together with a probability of 4e-11, and a changed clip goes unnoticed with one of 4e-15. Digests lie in one
NumPy array (160 MB for 10 million clips, three times that for the seconds it takes to sort them; a Python set of
ids would hold over 1 GB) and are sorted for look-ups.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

DIGEST_BYTES, ID_BYTES = 16, 10
ABSENT, SAME, CHANGED = 0, 1, 2
"""What `ClipHashes.compare` says of a clip: its id is not there, is there with the same hash, with another."""

_ID_BITS, _HASH_BITS = np.uint64(16), np.uint64(48)


def digest(clip_id: str, clip_hash: str) -> bytes:
    """The 16 bytes of one clip; `clip_hash` in hex."""
    return hashlib.sha256(clip_id.encode()).digest()[:ID_BYTES] + bytes.fromhex(clip_hash[:12])


class ClipHashes:
    """A set of clips as digests.

    Args:
        clips: (clip_id, clip_hash) pairs.
    """

    def __init__(self, clips: Iterable[tuple[str, str]] = ()) -> None:
        self._parts: list[NDArray[np.uint64]] = []
        self._high = self._low = np.empty(0, np.uint64)
        self.add(b"".join(digest(clip_id, clip_hash) for clip_id, clip_hash in clips))

    def add(self, digests: bytes) -> None:
        """Add clips by their digests, one after the other."""
        if digests:
            self._parts.append(_columns(digests))

    def __len__(self) -> int:
        return len(self._high) + sum(part.shape[1] for part in self._parts)

    def duplicates(self, limit: int) -> set[bytes]:
        """Up to `limit` ids that are there more than once, as the first 10 bytes of their digests."""
        self._sort()
        same = self._high[1:] == self._high[:-1]
        same &= (self._low[1:] >> _HASH_BITS) == (self._low[:-1] >> _HASH_BITS)
        repeated: set[bytes] = set()
        for index in np.flatnonzero(same):
            repeated.add(_bytes(self._high[index], self._low[index])[:ID_BYTES])
            if len(repeated) == limit:
                break
        return repeated

    def compare(self, digests: bytes) -> NDArray[np.int8]:
        """Look clips up by their digests.

        Returns:
            int8 [clips]: `ABSENT`, `SAME` or `CHANGED`.
        """
        return self._compare(*_columns(digests))

    def hash_of(self, clip_id: str) -> str | None:
        """The first 12 hex digits of the clip's `clip_hash` as this set has it, or None where it has no such id."""
        self._sort()
        high, low = _columns(digest(clip_id, "0" * 12))
        for index in range(int(np.searchsorted(self._high, high[0])), len(self._high)):
            if self._high[index] != high[0]:
                return None
            if (self._low[index] ^ low[0]) >> _HASH_BITS == 0:
                return _bytes(self._high[index], self._low[index])[ID_BYTES:].hex()
        return None

    def tally(self, other: ClipHashes) -> tuple[int, int, int]:
        """How many clips of this set are absent from the other, the same there, and changed there."""
        self._sort()
        counts = np.zeros(3, np.int64)
        step = 1 << 20  # bounds the temporary arrays
        for i in range(0, len(self._high), step):
            states = other._compare(self._high[i : i + step], self._low[i : i + step])
            counts += np.bincount(states, minlength=3)
        return int(counts[ABSENT]), int(counts[SAME]), int(counts[CHANGED])

    def _compare(self, high: NDArray[np.uint64], low: NDArray[np.uint64]) -> NDArray[np.int8]:
        self._sort()
        out = np.full(len(high), ABSENT, np.int8)
        rows = np.searchsorted(self._high, high)
        open_ = np.arange(len(high))
        # One round, but for ids that agree in 8 bytes and not in 10.
        while len(open_ := open_[rows[open_] < len(self._high)]):
            open_ = open_[self._high[rows[open_]] == high[open_]]
            rests = self._low[rows[open_]]
            match = (rests >> _HASH_BITS) == (low[open_] >> _HASH_BITS)
            hit = open_[match]
            out[hit] = np.where((rests[match] ^ low[hit]) << _ID_BITS == 0, SAME, CHANGED)
            open_ = open_[~match]
            rows[open_] += 1
        return out

    def _sort(self) -> None:
        if not self._parts:
            return
        both = np.concatenate([np.stack([self._high, self._low]), *self._parts], axis=1)
        self._parts = []
        order = np.lexsort((both[1], both[0]))
        self._high, self._low = both[0][order], both[1][order]


def _columns(digests: bytes) -> NDArray[np.uint64]:
    pairs = np.frombuffer(digests, ">u8").reshape(-1, 2)
    return np.ascontiguousarray(pairs.T, dtype=np.uint64)


def _bytes(high: np.uint64, low: np.uint64) -> bytes:
    return int(high).to_bytes(8, "big") + int(low).to_bytes(8, "big")
