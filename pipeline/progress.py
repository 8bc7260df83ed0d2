"""Progress of a run: counts that actors report as they go, and their display.

The counts are for people and for the breaker. What a run achieved is read from its tables.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

LOG_EVERY_S = 5.0


@dataclass(slots=True)
class Counts:
    """What has been done in this run so far, or since the last report.

    Attributes:
        ok, partial, failed: clips ended, by status.
        frames: frames handed to the tracker.
        track_frames: mask rows made, one an object and frame.
        commits: parts committed.
        retries: clips started over, since their decode worker was lost.
        decode_wait_s: seconds that clips waited for decoded frames.
        busy_s: seconds that engines spent on the device.
    """

    ok: int = 0
    partial: int = 0
    failed: int = 0
    frames: int = 0
    track_frames: int = 0
    commits: int = 0
    retries: int = 0
    decode_wait_s: float = 0.0
    busy_s: float = 0.0

    @property
    def clips(self) -> int:
        """Clips that have ended."""
        return self.ok + self.partial + self.failed

    def add(self, other: Counts) -> None:
        """Add the other's counts to these."""
        for field in fields(Counts):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))

    def to_dict(self) -> dict[str, float]:
        return asdict(self)


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
            return [one for one in clip_ids if one in self._clips and self._clips[one].clips]

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


class ProgressDisplay:
    """A bar on a terminal; elsewhere one line every few seconds, and one at the end.

    Args:
        total: clips of this run.
        stream: where to write, standard error by default.
    """

    def __init__(self, total: int, stream: TextIO | None = None) -> None:
        self.total = total
        self.stream = stream or sys.stderr
        self._started = time.monotonic()
        self._last_line = self._started
        self._bar: Progress | None = None
        if self.stream.isatty():
            self._bar = Progress(
                TextColumn("segmenting"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[detail]}"),
                TimeElapsedColumn(),
                console=Console(file=self.stream),
            )
            self._task = self._bar.add_task("clips", total=total, detail="")

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, counts: Counts, *, last: bool = False) -> None:
        """Show the counts; a log line is written only when its time has come, or for the last."""
        now = time.monotonic()
        detail = describe(counts, self.total, now - self._started)
        if self._bar is not None:
            self._bar.update(self._task, completed=counts.clips, detail=detail)
        elif last or now - self._last_line >= LOG_EVERY_S:
            self._last_line = now
            print(f"{counts.clips}/{self.total} clips, {detail}", file=self.stream, flush=True)


def describe(counts: Counts, total: int, elapsed_s: float) -> str:
    """One line on counts after ``elapsed_s`` seconds: failures, rates and time to go.

    >>> describe(Counts(ok=9, failed=1, frames=400, track_frames=800), 20, 10.0)
    '1 failed, 40.0 frames/s, 80.0 track-frames/s, ETA 0:00:10'
    """
    rate = max(elapsed_s, 1e-9)
    parts = [f"{counts.failed} failed"]
    if counts.partial:
        parts.append(f"{counts.partial} partial")
    parts += [f"{counts.frames / rate:.1f} frames/s", f"{counts.track_frames / rate:.1f} track-frames/s"]
    if counts.clips >= total:
        parts.append("ETA 0:00:00")
    elif counts.clips:
        parts.append(f"ETA {clock(elapsed_s * (total - counts.clips) / counts.clips)}")
    else:
        parts.append("ETA unknown")
    return ", ".join(parts)


def clock(seconds: float) -> str:
    """Seconds as H:MM:SS."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
