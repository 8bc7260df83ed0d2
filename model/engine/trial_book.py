"""What trials of this user's processes have found, kept on disk for each kind of device.

A way that ends its process, or with which it hangs until it is ended, leaves no outcome: what is being tried is noted
before, and taken for failed by the processes that come after.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from model.caches import cache_folder


class TrialBook:
    """The trials for one key.

    Args:
        path: of its file; None keeps nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._mark = None if path is None else path.with_suffix(f".{os.getpid()}.trying")

    @classmethod
    def of_user(cls, key: str) -> TrialBook:
        """The book of a key among this user's caches."""
        folder = cache_folder("steps")
        return cls(None if folder is None else folder / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.json")

    def read(self) -> list[dict[str, Any]]:
        """The trials of earlier processes; those of ways that ended theirs have a fault."""
        if self._path is None:
            return []
        rows: list[dict[str, Any]] = []
        with contextlib.suppress(OSError, ValueError):
            rows = [row for row in json.loads(self._path.read_text()) if isinstance(row, dict) and "way" in row]
        fatal = [way for mark in self._path.parent.glob(f"{self._path.stem}.*.trying") if (way := _left(mark))]
        rows = [row for row in rows if row["way"] not in fatal]
        return rows + [{"way": way, "fault": "a process that tried it ended"} for way in dict.fromkeys(fatal)]

    def begin(self, way: str) -> None:
        """Note that a way is being tried."""
        if self._mark is not None:
            with contextlib.suppress(OSError):
                self._mark.write_text(way)

    def end(self) -> None:
        """It has been, and this process lives."""
        if self._mark is not None:
            self._mark.unlink(missing_ok=True)

    def write(self, rows: Sequence[dict[str, Any]]) -> None:
        """Keep the trials of all ways."""
        if self._path is not None:
            with contextlib.suppress(OSError):
                part = self._path.with_suffix(f".{os.getpid()}.part")
                part.write_text(json.dumps(list(rows)))
                part.replace(self._path)


def _left(mark: Path) -> str | None:
    """The way in a mark whose process is gone; None where it lives, or has just ended well."""
    with contextlib.suppress(OSError, ValueError):
        way, process = mark.read_text(), int(mark.suffixes[-2][1:])
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return way
    return None
