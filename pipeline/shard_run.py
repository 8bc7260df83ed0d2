"""Work through one shard: decode its clips in lanes, track them, and commit what is finished.

This is what one call of a `Segmenter` does; calls overlap in an actor and share its engine.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pipeline.clips import Clip
from pipeline.decode.events import Chunk, ClipRequest, Failed, Finished, Opened
from pipeline.decode.settings import DecodeSettings
from pipeline.frames import stream
from pipeline.parts import PartWriter
from pipeline.progress import Tally
from pipeline.tracking import ClipTracker, PostProcess, TrackedFrame, TrackError, TrackingEngine

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ClipSettings:
    """What every clip of a run shares.

    Attributes:
        stride, decoder, max_corrupt, max_clip_seconds: as the options of the job.
        model, precision, config_hash, run_id, attempt: for the `clips` row.
        commit_every_s: finished clips wait no longer than this for their commit.
        lanes: clips decoded at once.
    """

    stride: int
    decoder: str
    max_corrupt: float
    max_clip_seconds: float
    model: str
    precision: str
    commit_every_s: float
    lanes: int


class _TimeUp(Exception):
    """A clip has used up its time; the rows taken so far are right."""


class Stopped(Exception):
    """The run was asked to stop: the clips under way are dropped and stay to be done."""


@dataclass(slots=True)
class ShardRun:
    """One shard in progress. Call `run` once."""

    clips: Sequence[Clip]
    settings: ClipSettings
    decode: DecodeSettings
    engine: TrackingEngine
    geometry: PostProcess
    writer: PartWriter
    tally: Tally
    stop: threading.Event
    _failed: threading.Event = field(default_factory=threading.Event)

    def run(self) -> int:
        """Track every clip and commit; returns the clips committed.

        Raises:
            Stopped: the run was asked to stop; the clips that had ended are committed.
            StorageError, LeaseLost: a commit failed.
        """
        # Clips of one video come one after the other, so that a lane keeps one video staged at a time.
        clips = sorted(self.clips, key=lambda clip: clip.video_location)
        lanes = [lane for i in range(self.settings.lanes) if (lane := clips[i :: self.settings.lanes])]
        committed = 0
        with ThreadPoolExecutor(max(1, len(lanes)), thread_name_prefix="lane") as pool:
            pending: set[Future[None]] = {pool.submit(self._lane, lane) for lane in lanes}
            last = time.monotonic()
            try:
                while pending:
                    done, pending = wait(pending, timeout=1.0, return_when=FIRST_COMPLETED)
                    for future in done:
                        future.result()
                    if pending and time.monotonic() - last >= self.settings.commit_every_s:
                        last = time.monotonic()
                        committed += self._commit()
            except BaseException:
                self._failed.set()
                raise
        committed += self._commit()
        if self.stop.is_set():
            raise Stopped
        return committed

    def _commit(self) -> int:
        ended = self.tally.ended(clip.clip_id for clip in self.clips)
        clips = self.writer.commit()
        self.tally.commit(ended)
        if clips:
            self.tally.add(commits=1)
        return clips

    def _lane(self, clips: Sequence[Clip]) -> None:
        """Take the clips of one lane in turn. A clip that cannot be tracked ends the stream, which is then
        taken up again after it: its remaining frames need not be decoded."""
        rest = list(clips)
        while rest and not self._halted():
            requests = [self._request(clip) for clip in rest]
            done = 0
            events: Any = stream(requests, self.decode, on_retry=lambda: self.tally.add(retries=1))
            with contextlib.closing(events):
                current: _ClipRun | None = None
                for event in events:
                    if self._halted():
                        return
                    if current is None:
                        current = _ClipRun(rest[event.clip], self)
                    ended = current.take(event)
                    if ended:
                        done, current = event.clip + 1, None
                    if ended == "early":
                        break
            rest = rest[done:] if done else []

    def _halted(self) -> bool:
        return self.stop.is_set() or self._failed.is_set()

    def _request(self, clip: Clip) -> ClipRequest:
        return ClipRequest(
            clip_id=clip.clip_id,
            video_location=clip.video_location,
            start_frame=clip.start_frame,
            end_frame=clip.end_frame,
            start_s=clip.start_s,
            end_s=clip.end_s,
            stride=self.settings.stride,
            decoder=self.settings.decoder,  # type: ignore[arg-type]
            max_corrupt=self.settings.max_corrupt,
        )


class _ClipRun:
    """One clip in progress: its events in, its mask rows and its `clips` row out."""

    def __init__(self, clip: Clip, shard: ShardRun) -> None:
        self._clip = clip
        self._shard = shard
        self._started = datetime.now(UTC)
        self._deadline = time.monotonic() + shard.settings.max_clip_seconds
        self._opened: Opened | None = None
        self._tracker: ClipTracker | None = None
        self._frames = 0
        self._corrupt = 0
        self._rows = 0

    def take(self, event: Opened | Chunk | Finished | Failed) -> str:
        """Take one event; "" while the clip goes on, "done" after its last event, "early" where it ends before."""
        try:
            match event:
                case Opened():
                    if self._opened is not None:  # the decode worker died, and a new one starts the clip over
                        self._shard.writer.discard_clip(self._clip.clip_id)
                        self._shard.tally.drop([self._clip.clip_id])
                        self._frames = self._corrupt = self._rows = 0
                    self._opened = event
                    self._tracker = ClipTracker(
                        self._clip, event, self._shard.engine, self._shard.geometry, self._shard.settings.stride
                    )
                case Chunk():
                    assert self._tracker is not None
                    self._corrupt = event.corrupt_frames
                    self._add(self._in_time(self._tracker.chunk(event)))
                    self._frames += len(event.frame_index)
                    self._shard.tally.add_to(self._clip.clip_id, frames=len(event.frame_index))
                case Finished():
                    assert self._tracker is not None
                    self._add(self._tracker.flush())
                    self._end("ok", event)
                    return "done"
                case Failed():
                    if self._tracker is not None:
                        self._add(self._tracker.abandon())
                    status = "partial" if event.keep_rows and self._rows else "failed"
                    self._end(status, event, (event.stage, event.error_type, event.message))
                    return "done"
        except _TimeUp:
            limit = self._shard.settings.max_clip_seconds
            message = f"{self._clip.video_location} was not tracked to its end within --max-clip-seconds {limit:g}"
            self._end("partial" if self._rows else "failed", event, ("track", "Timeout", message))
            return "early"
        except TrackError as error:
            self._end("failed", event, (error.stage, error.error_type, error.message))
            return "done" if isinstance(event, Finished | Failed) else "early"
        return ""

    def _add(self, rows: Any) -> None:
        """Spool the rows as they come, a few hundred at a time."""
        before = self._rows
        try:
            self._shard.writer.add_rows(self._clip.clip_id, self._counted(rows))
        finally:
            self._shard.tally.add_to(self._clip.clip_id, track_frames=self._rows - before)

    def _counted(self, rows: Iterable[TrackedFrame]) -> Iterator[TrackedFrame]:
        for row in rows:
            self._rows += 1
            yield row

    def _in_time(self, rows: Iterable[TrackedFrame]) -> Iterator[TrackedFrame]:
        """The rows of whole frames until the clip's time is up."""
        frame = None
        for row in rows:
            if row.frame_index != frame and time.monotonic() > self._deadline:
                raise _TimeUp
            frame = row.frame_index
            yield row

    def _end(
        self,
        status: str,
        event: Opened | Chunk | Finished | Failed,
        error: tuple[str, str, str] | None = None,
    ) -> None:
        shard, settings, info = self._shard, self._shard.settings, self._opened.info if self._opened else None
        stage, kind, message = error or (None, None, None)
        last = event if isinstance(event, Finished | Failed) else None
        row: dict[str, Any] = {
            "clip_id": self._clip.clip_id,
            "video_uri": self._clip.video_uri,
            "status": status,
            "error_stage": stage,
            "error_type": kind,
            "error_message": message,
            "objects": len({start.object_id for start in self._clip.objects}),
            "frames": self._frames,
            "corrupt_frames": last.corrupt_frames if last else self._corrupt,
            "start_frame": self._opened.start_frame if self._opened else self._clip.start_frame,
            "end_frame": self._opened.end_frame if self._opened else self._clip.end_frame,
            "fps": info.fps if info else None,
            "width": info.width if info else None,
            "height": info.height if info else None,
            "rotation": info.rotation if info else None,
            "codec": info.codec if info else None,
            "decoder": (last.decoder if last else None) or (info.decoder if info else None),
            "started_at": self._started,
            "finished_at": datetime.now(UTC),
            "decode_wait_s": last.decode_wait_s if last else None,
            "model": settings.model,
            "precision": settings.precision,
            "clip_hash": self._clip.clip_hash,
            **self._clip.keep,
        }
        shard.writer.finish_clip(row, keep_rows=status != "failed")
        shard.tally.add_to(self._clip.clip_id, **{status: 1}, decode_wait_s=row["decode_wait_s"] or 0.0)
        known = {"clip_id": self._clip.clip_id, "clip_status": status}  # fields of their own where logs are JSON
        if error:
            logger.warning("clip %s %s: %s, %s: %s", self._clip.clip_id, status, stage, kind, message, extra=known)
        else:
            logger.debug("clip %s ok: %d frames", self._clip.clip_id, self._frames, extra=known)
