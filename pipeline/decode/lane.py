"""A lane: clips one after the other, in one process."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

from model.video.errors import VideoError
from model.video.frames import IndexMismatch, reindexed
from model.video.index import VideoIndex, index_video
from pipeline import storage
from pipeline.decode.clip import decode_clip, failure
from pipeline.decode.clock import ClipTimer, with_beats
from pipeline.decode.events import ClipRequest, Event, Failed
from pipeline.decode.settings import DecodeSettings
from pipeline.decode.staging import staged
from pipeline.progress.prometheus import staging

logger = logging.getLogger(__name__)


def lane_events(requests: Sequence[ClipRequest], settings: DecodeSettings, first: int = 0) -> Iterator[Event | None]:
    """The events of every clip in turn, the first of which has the number `first`; None is a sign of life.

    A video is staged and looked through once for all the lane's clips of it, and removed after the last. Whatever
    goes wrong with one clip becomes its `Failed`.
    """
    yield None  # the worker has started: from here on silence is a hang
    with _Videos(requests, settings) as videos:
        for clip, request in enumerate(requests, start=first):
            clock = ClipTimer(storage.redact(request.video_location), settings.limits.max_clip_seconds)
            try:
                index = yield from videos.open(request, clock)
                try:
                    yield from decode_clip(clip, request, index, settings, clock)
                except IndexMismatch as mismatch:
                    logger.info("%s; the clip is started over with what the decoder shows", mismatch)
                    index = yield from videos.reindex(request, mismatch, clock)
                    yield from decode_clip(clip, request, index, settings, clock)
            except VideoError as error:
                yield failure(clip, error)
            except Exception as error:
                message = f"{storage.redact(request.video_location)}: {storage.redact_text(str(error))}"
                yield Failed(clip, "decode", type(error).__name__, message, 0, 0, keep_rows=False)
            finally:
                videos.leave(request)


_Key = tuple[str, float | None]
"""Location of a video, and the rate that makes a folder of pictures another video."""


def _key(request: ClipRequest) -> _Key:
    return request.video_location, request.fps


class _Videos:
    """Videos of the clips to come: staged and indexed at the first clip, let go after the last."""

    def __init__(self, requests: Sequence[ClipRequest], settings: DecodeSettings) -> None:
        self._left = Counter(map(_key, requests))
        self._settings = settings
        self._open: dict[_Key, tuple[contextlib.AbstractContextManager[Path], VideoIndex | VideoError]] = {}
        self._held: dict[_Key, int] = {}
        self._received = 0

    def __enter__(self) -> _Videos:
        return self

    def __exit__(self, *_: object) -> None:
        for key in list(self._open):
            self._close(key)

    def open(self, request: ClipRequest, clock: ClipTimer) -> Generator[None, None, VideoIndex]:
        """The video's index. Raises VideoError, the same for every clip of the video."""
        key, location = _key(request), request.video_location
        if key not in self._open:
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
            index: VideoIndex | VideoError
            try:
                index = yield from with_beats(
                    lambda: index_video(
                        path, location=storage.redact(location), max_pixels=limits.max_frame_pixels, rate=request.fps
                    ),
                    clock,
                )
            except VideoError as error:
                index = error
            self._open[key] = manager, index
            self._held[key] = 0 if storage.parse(location).is_local else path.stat().st_size
            staging(sum(self._held.values()), self._received)
            self._received = 0
        index = self._open[key][1]
        if isinstance(index, VideoError):
            raise index
        return index

    def reindex(
        self, request: ClipRequest, mismatch: IndexMismatch, clock: ClipTimer
    ) -> Generator[None, None, VideoIndex]:
        """The index of an open video by what its decoder shows, for this clip and those to come."""
        key = _key(request)
        manager, before = self._open[key]
        assert isinstance(before, VideoIndex)
        index = yield from with_beats(lambda: reindexed(before, mismatch), clock)
        self._open[key] = manager, index
        return index

    def leave(self, request: ClipRequest) -> None:
        """One clip of the video is done."""
        key = _key(request)
        self._left[key] -= 1
        if self._left[key] <= 0:
            self._close(key)

    def _close(self, key: _Key) -> None:
        manager, _ = self._open.pop(key, (None, None))
        self._held.pop(key, None)
        staging(sum(self._held.values()))
        if manager is not None:
            manager.__exit__(None, None, None)
