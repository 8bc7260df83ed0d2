"""Progress of a run: counts that actors report as they go, and their display.

The counts are for people and for the breaker. What a run achieved is read from its tables.
"""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import asdict, dataclass, fields
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
        decode_wait_s: seconds that clips waited for decoded frames.
        busy_s: seconds that engines spent on the device.
    """

    ok: int = 0
    partial: int = 0
    failed: int = 0
    frames: int = 0
    track_frames: int = 0
    commits: int = 0
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
    """Counts of one actor, added to from many threads and drained by its reporter."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = Counts()

    def add(self, **amounts: float) -> None:
        """Add to the named counts."""
        with self._lock:
            self._counts.add(Counts(**amounts))  # type: ignore[arg-type]

    def drain(self) -> Counts:
        """The counts since the last drain."""
        with self._lock:
            counts, self._counts = self._counts, Counts()
            return counts


class ControlRoom:
    """A small Ray actor that sums up reports and tells the segmenters whether to stop."""

    def __init__(self) -> None:
        self._counts = Counts()
        self._stop = False

    def report(self, counts: Counts) -> bool:
        """Take the counts since an actor's last report; True asks it to stop."""
        self._counts.add(counts)
        return self._stop

    def counts(self) -> Counts:
        """The sum of all reports."""
        return self._counts

    def stop(self) -> None:
        """Ask every segmenter to stop at its next report."""
        self._stop = True


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
