"""Frames of many clips, decoded in Ray worker processes: `stream`.

One streaming-generator task serves a lane of clips in turn, since starting a task costs milliseconds and a clip may be
short. A decoder that crashes or hangs ends one worker; the clip it was at is started over by PyAV a few times, then
failed, and the lane goes on in another worker.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from pipeline import storage
from pipeline.cluster.ray_private import bounded_generator, prefer_node
from pipeline.decode.events import Chunk, ClipRequest, Event, Failed, Finished, Opened
from pipeline.decode.lane import lane_events
from pipeline.decode.packs import lane_packs
from pipeline.decode.settings import DecodeSettings

START_SECONDS = 1800.0
"""A worker may wait this long for its start: a machine may be that busy, which is no clip's fault."""
CLAIM_SECONDS = 300.0
"""A worker waits this long for CPUs of its own, which other jobs may hold or an autoscaler may fail to bring."""
FETCH_SECONDS = 60.0
"""Frames that are announced come within this time, from another node too. Those of a node that is lost may never come:
Ray 2.60 waits for an object of a generator that it does not run again."""

CRASH_PAUSE_S = 1.0
"""Before a clip's second try; four times as long before each further one."""


def stream(
    requests: Sequence[ClipRequest],
    settings: DecodeSettings | None = None,
    *,
    on_retry: Callable[[], None] = lambda: None,
) -> Iterator[Event]:
    """The events of the clips, clip by clip, in order (see `pipeline.decode.events`).

    Calls `on_retry` before a clip is started over because its worker was lost.

    Frames are decoded at most `settings.chunks_ahead` chunks ahead of the consumer. Close the iterator, or use it up,
    in the thread that created it; closing it early ends the decoding. Ray must be up unless `settings.in_process`.
    """
    settings = settings or DecodeSettings()
    waited, began = 0.0, time.monotonic()
    source: Any = lane_events(requests, settings) if settings.in_process else _lanes(requests, settings, on_retry)
    with contextlib.closing(source):
        for event in source:
            if event is None:
                continue
            waited += time.monotonic() - began
            if isinstance(event, Finished | Failed):
                event = replace(event, decode_wait_s=waited)
                waited = 0.0
            yield event
            del event
            began = time.monotonic()


class _Lost(Exception):
    """The worker is gone, or as good as gone."""

    def __init__(self, error_type: str, message: str) -> None:
        super().__init__(message)
        self.error_type = error_type


def _lanes(
    requests: Sequence[ClipRequest], settings: DecodeSettings, on_retry: Callable[[], None]
) -> Iterator[Event]:
    """Worker after worker until every clip has ended."""
    requests = list(requests)
    following, tries = 0, 0
    while following < len(requests):
        place = _Place()
        try:
            # After a crash, and where none is forgiven, one by one: events that wait for others to go with are lost
            # with their worker, and which clip is at fault is known by those that came.
            sending = replace(settings, pack_bytes=0) if tries or not settings.crash_retries else settings
            for event in _worker(requests[following:], sending, following):
                place.see(event)
                if isinstance(event, Finished | Failed):
                    following, tries = event.clip + 1, 0
                yield event
                del event
            if following < len(requests):
                raise _Lost("WorkerCrashed", "the decode worker stopped early")
        except _NoRoom:
            settings = replace(settings, num_cpus=0.0)  # beside the consumer there is always room for no claim
        except _Lost as lost:
            tries += 1
            if tries > settings.crash_retries:
                message = f"{storage.redact(requests[following].video_location)}: {lost}, {tries} time(s)"
                yield place.failed(following, lost.error_type, message)
                following, tries = following + 1, 0
            else:
                on_retry()
                requests[following] = replace(requests[following], decoder="pyav")  # it may have been decord's doing
                time.sleep(CRASH_PAUSE_S * 4 ** (tries - 1))


class _NoRoom(Exception):
    """The CPUs that the worker claims did not come free."""


class _Place:
    """How far the clip under way has come."""

    def __init__(self) -> None:
        self._opened: Opened | None = None
        self._frames = 0
        self._corrupt = 0

    def see(self, event: Event) -> None:
        if isinstance(event, Chunk):
            if not event.backward:
                self._frames += len(event.frame_index)
                self._corrupt = event.corrupt_frames
        else:
            self._opened = event if isinstance(event, Opened) else None
            self._frames, self._corrupt = 0, 0

    def failed(self, clip: int, error_type: str, message: str) -> Failed:
        decoder = self._opened.info.decoder if self._opened else None
        return Failed(clip, "decode", error_type, message, self._frames, self._corrupt, True, decoder=decoder)


def _worker(requests: Sequence[ClipRequest], settings: DecodeSettings, first: int) -> Iterator[Event]:
    """One worker's events. Raises _Lost where the worker dies or gives no sign of life.

    The generator is made and read in one thread, and cancelled at the end: the task would go on without a reader.
    """
    import ray
    from ray.exceptions import GetTimeoutError, RayError

    generator = _task(settings).remote(list(requests), settings, first)
    over = False
    started = False
    patience = CLAIM_SECONDS if settings.num_cpus else max(START_SECONDS, settings.hang_seconds)
    try:
        while True:
            ready, _ = ray.wait([generator], timeout=patience, fetch_local=False)
            if not ready and not started and settings.num_cpus:
                raise _NoRoom
            if not ready:
                raise _Lost("Timeout", f"the decode worker gave no sign of life for {patience:.0f} s")
            started, patience = True, settings.hang_seconds
            try:
                pack = ray.get(next(generator), timeout=FETCH_SECONDS)
            except StopIteration:
                over = True
                return
            except GetTimeoutError:
                raise _Lost("Timeout", f"frames that were decoded did not come within {FETCH_SECONDS:.0f} s") from None
            except RayError as error:
                over = True
                raise _Lost("WorkerCrashed", f"the decode worker died ({type(error).__name__})") from None
            pack.reverse()
            while pack:  # keeps no event that is done with
                yield pack.pop()
    finally:
        if not over:
            with contextlib.suppress(Exception):
                ray.cancel(generator, force=True)


def _task(settings: DecodeSettings) -> Any:
    options: dict[str, Any] = {"num_cpus": settings.num_cpus}
    if settings.node_id is not None:  # the consumer's own node first, and another one where that has no CPU left
        options["scheduling_strategy"] = prefer_node(settings.node_id)
    return bounded_generator(_remote_lane(), options, max(1, settings.chunks_ahead))


@cache
def _remote_lane() -> Any:
    import ray

    return ray.remote(num_returns="streaming", max_retries=0)(lane_packs)
