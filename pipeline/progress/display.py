"""Progress of a run: counts that actors report as they go, and their display.

The counts are for people and for the breaker. What a run achieved is read from its tables.
"""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from pipeline.progress.counts import Counts

LOG_EVERY_S = 5.0


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
