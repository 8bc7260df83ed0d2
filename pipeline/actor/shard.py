"""Work through one shard: decode its clips in lanes, track them, and commit what is finished.

This is what one call of a `Segmenter` does; calls overlap in an actor and share its engine.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

from model.track.object_tracker import TrackingEngine
from pipeline.actor.clip_run import ClipRun, ClipSettings
from pipeline.clip import Clip
from pipeline.decode.events import ClipRequest
from pipeline.decode.settings import DecodeSettings
from pipeline.decode.stream import stream
from pipeline.output.commit import PartWriter
from pipeline.progress.tally import Tally


class Stopped(Exception):
    """The run was asked to stop: the clips under way are dropped and stay to be done."""


@dataclass(slots=True)
class ShardRun:
    """One shard in progress. Call `run` once.

    Args:
        lanes: clips decoded at once.
        commit_every_s: finished clips wait no longer than this for their commit.
        stop: set where the run is to stop.
    """

    clips: Sequence[Clip]
    settings: ClipSettings
    decode: DecodeSettings
    engine: TrackingEngine
    writer: PartWriter
    tally: Tally
    lanes: int
    commit_every_s: float
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
        lanes = [lane for i in range(self.lanes) if (lane := clips[i :: self.lanes])]
        committed = 0
        with ThreadPoolExecutor(max(1, len(lanes)), thread_name_prefix="lane") as pool:
            pending: set[Future[None]] = {pool.submit(self._lane, lane) for lane in lanes}
            last = time.monotonic()
            try:
                while pending:
                    done, pending = wait(pending, timeout=1.0, return_when=FIRST_COMPLETED)
                    for future in done:
                        future.result()
                    if pending and time.monotonic() - last >= self.commit_every_s:
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
                runs = map(self._clip_run, rest)  # each is made when its clip's turn comes
                current = next(runs)
                for event in events:
                    if self._halted():
                        return
                    ended = current.take(event)
                    if ended:
                        done, current = event.clip + 1, next(runs, current)
                    if ended == "early":
                        break
            rest = rest[done:] if done else []

    def _clip_run(self, clip: Clip) -> ClipRun:
        return ClipRun(clip, self.settings, self.engine, self.writer, self.tally)

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
            backward=clip.backward_range,
            decoder=self.settings.decoder,
            max_corrupt=self.settings.max_corrupt,
            fps=clip.fps,
        )
