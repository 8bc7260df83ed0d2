"""The disk of a run's local output: a run ends soon after it is full, since nothing can be committed."""

from __future__ import annotations

import time

from pipeline import storage
from pipeline.disk import free_bytes

FULL_BYTES = 1 << 20
FULL_FOR_S = 10.0


class NoSpaceLeft(Exception):
    """The output's disk is full: the run was stopped. What is committed stays; the rest is resumable."""


class OutputDisk:
    """Looks at the disk of an output; object storage and the disks of other machines are never full.

    A disk that is full for a moment is not: a video that is staged there may be gone in the next.
    """

    def __init__(self, output: str) -> None:
        location = storage.parse(output)
        self._folder = location.key if location.bucket is None else None
        self._full_since: float | None = None

    @property
    def is_full(self) -> bool:
        """Whether it is full now."""
        return self._folder is not None and free_bytes(self._folder) < FULL_BYTES

    def look(self) -> NoSpaceLeft | None:
        """Why the run has to stop, if the disk has been full for some seconds of looking at it."""
        if not self.is_full:
            self._full_since = None
            return None
        now = time.monotonic()
        self._full_since = now if self._full_since is None else self._full_since
        if now - self._full_since < FULL_FOR_S:
            return None
        return NoSpaceLeft(
            f"--output {self._folder}: its disk is full: free space there and run the same command again, which goes "
            "on from what is committed"
        )
