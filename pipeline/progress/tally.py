"""One actor's counts: what is committed, and what waits for its commit."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import replace

from pipeline.progress.counts import Counts


class Tally:
    """Counts of one actor, added to from many threads and drained by its reporter.

    What belongs to a clip counts for good only once the clip is committed: of an actor that dies the rest is void,
    and whoever does it again counts it again.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._done = Counts()
        self._ever = Counts()
        self._clips: dict[str, Counts] = {}

    def add(self, **amounts: float) -> None:
        """Add to the named counts, for good."""
        self._add(self._done, amounts)

    def add_to(self, clip_id: str, **amounts: float) -> None:
        """Add to the counts of a clip that is not committed."""
        with self._lock:
            counts = self._clips.setdefault(clip_id, Counts())
        self._add(counts, amounts)

    def drop(self, clip_ids: Iterable[str]) -> None:
        """Forget what was done for clips: they start over, or will not be finished here."""
        with self._lock:
            for clip_id in clip_ids:
                self._clips.pop(clip_id, None)

    def ended(self, clip_ids: Iterable[str]) -> list[str]:
        """Those of the clips that have ended and are not committed yet."""
        with self._lock:
            return [clip_id for clip_id in clip_ids if clip_id in self._clips and self._clips[clip_id].clips]

    def commit(self, clip_ids: Iterable[str]) -> None:
        """These clips are committed."""
        with self._lock:
            for clip_id in clip_ids:
                self._done.add(self._clips.pop(clip_id, Counts()))

    def drain(self) -> tuple[Counts, Counts]:
        """What counts for good since the last drain, and all that is not committed at the moment."""
        with self._lock:
            done, self._done = self._done, Counts()
            waiting = Counts()
            for counts in self._clips.values():
                waiting.add(counts)
            return done, waiting

    def put_back(self, done: Counts) -> None:
        """What was drained could not be reported."""
        with self._lock:
            self._done.add(done)

    def ever(self) -> Counts:
        """All that was ever counted here, also what was void later."""
        with self._lock:
            return replace(self._ever)

    def _add(self, counts: Counts, amounts: dict[str, float]) -> None:
        new = Counts(**amounts)  # type: ignore[arg-type]
        with self._lock:
            counts.add(new)
            self._ever.add(new)
