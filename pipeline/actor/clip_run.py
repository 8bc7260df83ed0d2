"""One clip through an actor: decode events in, mask rows and its `clips` row out."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from model.track.object_tracker import TrackingEngine
from model.track.objects import TrackError
from model.tracker import PRESETS, TrackerParams
from pipeline import storage
from pipeline.actor.clip_row import ClipEnding, ClipError, clip_row
from pipeline.actor.clip_tracker import ClipTracker
from pipeline.actor.track_sums import TrackSums
from pipeline.clip import Clip
from pipeline.decode.events import Chunk, DecoderName, Event, Failed, Finished, Opened
from pipeline.output.commit import PartWriter
from pipeline.output.schema import MaskRow
from pipeline.plan.options import RotatedBox
from pipeline.progress.tally import Tally

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ClipSettings:
    """What every clip of a run shares.

    Attributes:
        stride, decoder, max_corrupt, max_clip_seconds, rotated_box: as the options of the job.
        model, precision: for the `clips` row.
        params: the tracker's.
    """

    stride: int
    decoder: DecoderName
    max_corrupt: float
    max_clip_seconds: float
    rotated_box: RotatedBox
    model: str
    precision: str
    params: TrackerParams = PRESETS["default"]


class TimeUp(Exception):
    """A clip has used up its time; the rows taken so far are right."""


class ClipRun:
    """One clip in progress: its events in, its mask rows and its `clips` row out.

    Make it before the first event is waited for: the clip's time begins here. `--max-clip-seconds` count from that
    event on, since a busy machine may take long to start a decode worker.
    """

    def __init__(
        self, clip: Clip, settings: ClipSettings, engine: TrackingEngine, writer: PartWriter, tally: Tally
    ) -> None:
        self._clip, self._settings, self._engine = clip, settings, engine
        self._writer, self._tally = writer, tally
        self._started = datetime.now(UTC)
        self._deadline: float | None = None
        self._opened: Opened | None = None
        self._tracker: ClipTracker | None = None
        self._frames = self._corrupt = self._rows = 0
        self._sums = TrackSums()
        self._decode_wait_s, self._waiting_since = 0.0, time.monotonic()

    def take(self, event: Event) -> str:
        """Take one event; "" while the clip goes on, "done" after its last event, "early" where it ends before."""
        now = time.monotonic()
        self._decode_wait_s += now - self._waiting_since
        if self._deadline is None:
            self._deadline = now + self._settings.max_clip_seconds
        try:
            return self._take(event)
        finally:
            self._waiting_since = time.monotonic()

    def _take(self, event: Event) -> str:
        try:
            match event:
                case Opened():
                    if self._opened is not None:  # the decode worker died, and a new one starts the clip over
                        self._writer.discard_clip(self._clip.clip_id)
                        self._tally.drop([self._clip.clip_id])
                        self._frames = self._corrupt = self._rows = 0
                        self._sums = TrackSums()
                    self._opened = event
                    settings = self._settings
                    self._tracker = ClipTracker(
                        self._clip, event, self._engine, settings.stride, settings.rotated_box, settings.params,
                        self._writer.scratch,
                    )
                case Chunk(backward=True):
                    assert self._tracker is not None
                    self._check_time()
                    self._tracker.backward(event)
                    self._tally.add_to(self._clip.clip_id, frames=len(event.frame_index))
                case Chunk():
                    assert self._tracker is not None
                    self._corrupt = event.corrupt_frames
                    self._add(self._in_time(self._tracker.chunk(event)))
                    self._frames += len(event.frame_index)
                    self._tally.add_to(self._clip.clip_id, frames=len(event.frame_index))
                case Finished():
                    assert self._tracker is not None
                    self._add(self._tracker.flush())
                    self._end("ok", event)
                    return "done"
                case Failed():
                    if self._tracker is not None:
                        self._add(self._tracker.abandon())
                    status = "partial" if event.keep_rows and self._rows else "failed"
                    self._end(status, event, ClipError(event.stage, event.error_type, event.message))
                    return "done"
        except TimeUp:
            limit = self._settings.max_clip_seconds
            video = storage.redact(self._clip.video_location)
            message = f"{video} was not tracked to its end within --max-clip-seconds {limit:g}"
            self._end("partial" if self._rows else "failed", event, ClipError("track", "Timeout", message))
            return "early"
        except TrackError as error:
            self._end("failed", event, ClipError(error.stage, error.error_type, error.message))
            return "done" if isinstance(event, Finished | Failed) else "early"
        return ""

    def _add(self, rows: Iterator[MaskRow]) -> None:
        """Spool the rows as they come, a few hundred at a time."""
        before = self._rows
        try:
            self._writer.add_rows(self._clip.clip_id, self._counted(rows))
        finally:
            self._tally.add_to(self._clip.clip_id, track_frames=self._rows - before)

    def _counted(self, rows: Iterator[MaskRow]) -> Iterator[MaskRow]:
        for row in self._sums.counted(rows):
            self._rows += 1
            yield row

    def _in_time(self, rows: Iterator[MaskRow]) -> Iterator[MaskRow]:
        """The rows of whole frames until the clip's time is up."""
        frame = None
        for row in rows:
            if row.frame_index != frame:
                self._check_time()
            frame = row.frame_index
            yield row

    def _check_time(self) -> None:
        assert self._deadline is not None
        if time.monotonic() > self._deadline:
            raise TimeUp

    def _end(self, status: str, event: Event, error: ClipError | None = None) -> None:
        last = event if isinstance(event, Finished | Failed) else None
        ending = ClipEnding(
            status,
            error,
            self._opened,
            self._frames,
            last.corrupt_frames if last else self._corrupt,
            last.decoder if last else None,
            last.decode_wait_s if last else self._decode_wait_s,
            self._sums.values() if status != "failed" else None,
        )
        settings, clip_id = self._settings, self._clip.clip_id
        row = clip_row(self._clip, ending, started_at=self._started, model=settings.model, precision=settings.precision)
        self._writer.finish_clip(row, keep_rows=status != "failed")
        self._tally.add_to(clip_id, **{status: 1}, decode_wait_s=ending.decode_wait_s)
        known = {"clip_id": clip_id, "clip_status": status}  # fields of their own where logs are JSON
        if error:
            reason = (error.stage, error.error_type, error.message)
            logger.warning("clip %s %s: %s, %s: %s", clip_id, status, *reason, extra=known)
        else:
            logger.debug("clip %s ok: %d frames", clip_id, self._frames, extra=known)
