"""A lane: clips one after the other, in one process."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

from pipeline import storage
from pipeline.decode.clip import decode_clip, failure
from pipeline.decode.clock import Clock, with_beats
from pipeline.decode.decord_process import DecordProcess
from pipeline.decode.errors import VideoError
from pipeline.decode.events import ClipRequest, Event, Failed
from pipeline.decode.probe import Probe, probe
from pipeline.decode.settings import DecodeSettings
from pipeline.metrics import staging
from pipeline.staging import staged


def lane_events(requests: Sequence[ClipRequest], settings: DecodeSettings, first: int = 0) -> Iterator[Event | None]:
    """The events of every clip in turn, the first of which has the number `first`; None is a sign of life.

    A video is staged and looked through once for all the lane's clips of it, and removed after the last. Whatever
    goes wrong with one clip becomes its `Failed`.
    """
    yield None  # the worker has started: from here on silence is a hang
    process = DecordProcess(2 * settings.chunk_bytes)
    with contextlib.closing(process), _Videos(requests, settings) as videos:
        for clip, request in enumerate(requests, start=first):
            clock = Clock(request.video_location, settings.limits.max_clip_seconds)
            try:
                found = yield from videos.open(request.video_location, clock)
                yield from decode_clip(clip, request, found, settings, process, clock)
            except VideoError as error:
                yield failure(clip, error)
            except Exception as error:
                message = f"{request.video_location}: {error}"
                yield Failed(clip, "decode", type(error).__name__, message, 0, 0, keep_rows=False)
            finally:
                videos.leave(request.video_location)


class _Videos:
    """Videos of the clips to come: staged and probed at the first clip, let go after the last."""

    def __init__(self, requests: Sequence[ClipRequest], settings: DecodeSettings) -> None:
        self._left = Counter(request.video_location for request in requests)
        self._settings = settings
        self._open: dict[str, tuple[contextlib.AbstractContextManager[Path], Probe | VideoError]] = {}
        self._held: dict[str, int] = {}
        self._received = 0

    def __enter__(self) -> _Videos:
        return self

    def __exit__(self, *_: object) -> None:
        for location in list(self._open):
            self._close(location)

    def open(self, location: str, clock: Clock) -> Generator[None, None, Probe]:
        """The video's probe. Raises VideoError, the same for every clip of the video."""
        if location not in self._open:
            limits = self._settings.limits

            def received(size: int) -> None:
                self._received += size
                clock.check()

            manager = staged(
                location,
                scratch=self._settings.scratch,
                max_bytes=limits.max_file_bytes,
                max_staged_bytes=self._settings.max_staged_bytes,
                on_bytes=received,
            )
            path = yield from with_beats(manager.__enter__, clock)
            found: Probe | VideoError
            try:
                found = yield from with_beats(lambda: probe(str(path), location=location, limits=limits), clock)
            except VideoError as error:
                found = error
            self._open[location] = manager, found
            self._held[location] = 0 if storage.parse(location).is_local else path.stat().st_size
            staging(sum(self._held.values()), self._received)
            self._received = 0
        found = self._open[location][1]
        if isinstance(found, VideoError):
            raise found
        return found

    def leave(self, location: str) -> None:
        """One clip of the video is done."""
        self._left[location] -= 1
        if self._left[location] <= 0:
            self._close(location)

    def _close(self, location: str) -> None:
        manager, _ = self._open.pop(location, (None, None))
        self._held.pop(location, None)
        staging(sum(self._held.values()))
        if manager is not None:
            manager.__exit__(None, None, None)
