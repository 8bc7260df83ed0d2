"""`stream` through Ray: zero-copy chunks, backpressure, crashes, hangs, and an early end."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from pipeline.decode import Chunk, ClipRequest, DecodeSettings, Event, Failed, Finished, Opened
from pipeline.decode.packs import lane_packs
from pipeline.decode.stream import stream
from tests.pipeline.videos import Plain, make_video, plain, read_clips

pytestmark = pytest.mark.usefixtures("ray_local")
FRAME = 320 * 240 * 3
SETTINGS = DecodeSettings(chunk_bytes=4 * FRAME, hang_seconds=60.0)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Plain]:
    path = make_video(tmp_path_factory.mktemp("frames") / "v.mp4", 60, width=320, height=240)
    return path, plain(path)


def workers() -> list[psutil.Process]:
    """Ray workers that decode at the moment."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "lane_packs" in " ".join(process.cmdline()):
                found.append(process)
    return found


def test_clips_come_in_order_and_read_as_in_this_process(video: tuple[Path, Plain], tmp_path: Path) -> None:
    path, reference = video
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    requests = [
        ClipRequest("whole", str(path)),
        ClipRequest("broken", str(broken)),
        ClipRequest("middle", str(path), 13, 47, stride=3, decoder="pyav"),
    ]
    for local, remote in zip(read_clips(requests), read_clips(requests, SETTINGS), strict=True):
        assert [opened.info for opened in local.opened] == [opened.info for opened in remote.opened]
        assert list(local.frames) == list(remote.frames) and local.seconds == remote.seconds
        for index, frame in remote.frames.items():
            np.testing.assert_array_equal(frame, reference.frames[index])
        assert type(local.end) is type(remote.end)
        assert remote.end.decode_wait_s > 0


def test_chunks_are_read_in_place(video: tuple[Path, Plain]) -> None:
    """An array out of the object store is read-only and owns no memory; a copy would own it."""
    for event in stream([ClipRequest("c", str(video[0]))], SETTINGS):
        if isinstance(event, Chunk):
            assert not event.frames.flags.writeable and not event.frames.flags.owndata


def test_decoding_waits_for_the_consumer(video: tuple[Path, Plain]) -> None:
    """The worker is idle, two chunks ahead, while the consumer takes its time."""
    events = stream([ClipRequest("c", str(video[0]))], SETTINGS)
    for event in events:
        if isinstance(event, Chunk):
            break
    time.sleep(2)
    (worker,) = workers()
    before = worker.cpu_times()
    time.sleep(2)
    after = worker.cpu_times()
    assert (after.user + after.system) - (before.user + before.system) < 0.5
    assert sum(len(e.frames) for e in events if isinstance(e, Chunk)) == 56


def kill_at(requests: list[ClipRequest], settings: DecodeSettings, kills: int, **more: Any) -> list[Event]:
    """Read all, killing the worker at the second chunk of the first clip, `kills` times."""
    events: list[Event] = []
    chunks = 0
    for event in stream(requests, settings, **more):
        events.append(event)
        chunks = 0 if isinstance(event, Opened) else chunks + isinstance(event, Chunk)
        if isinstance(event, Chunk) and event.clip == 0 and chunks == 2 and kills:
            kills -= 1
            for worker in workers():
                os.kill(worker.pid, signal.SIGKILL)
    return events


def test_a_dead_worker_costs_its_clip_alone(video: tuple[Path, Plain]) -> None:
    requests = [ClipRequest("a", str(video[0])), ClipRequest("b", str(video[0]))]
    settings = DecodeSettings(chunk_bytes=4 * FRAME, crash_retries=0)
    events = kill_at(requests, settings, 1)
    ends = [event for event in events if isinstance(event, Finished | Failed)]
    first, second = ends
    assert isinstance(first, Failed)
    assert (first.stage, first.error_type, first.keep_rows) == ("decode", "WorkerCrashed", True)
    assert "v.mp4" in first.message
    given = sum(len(e.frames) for e in events if isinstance(e, Chunk) and e.clip == 0)
    assert first.frames == given >= 8
    assert isinstance(second, Finished) and second.frames == 60


def _dies_at_the_third(requests: list[ClipRequest], settings: DecodeSettings, first: int) -> Iterator[list[Event]]:
    for pack in lane_packs(requests, settings, first):
        third = next((place for place, event in enumerate(pack) if event.clip == 2 and isinstance(event, Chunk)), None)
        if third is not None:
            if settings.pack_bytes == 0:  # else what came before is lost with it
                yield pack[:third]
            os.kill(os.getpid(), signal.SIGKILL)
        yield pack


@pytest.mark.parametrize("retries", [0, 2])
def test_short_clips_come_together_and_a_crash_is_blamed_on_its_own(
    retries: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two clips have ended when the third kills its worker, but their events had waited to go with its."""
    import ray

    dying = ray.remote(num_returns="streaming", max_retries=0)(_dies_at_the_third)
    monkeypatch.setattr("pipeline.decode.stream._remote_lane", lambda: dying)
    monkeypatch.setattr("pipeline.decode.stream.CRASH_PAUSE_S", 0.01)
    short = str(make_video(tmp_path / "short.mp4", 5, width=64, height=48))
    requests = [ClipRequest(str(i), short, decoder="pyav") for i in range(4)]
    events = list(stream(requests, replace(SETTINGS, crash_retries=retries)))
    ends = [event for event in events if isinstance(event, Finished | Failed)]
    assert [(type(end), end.clip) for end in ends] == [(Finished, 0), (Finished, 1), (Failed, 2), (Finished, 3)]


def test_events_of_short_clips_are_packed(tmp_path: Path) -> None:
    short = str(make_video(tmp_path / "short.mp4", 5, width=64, height=48))
    requests = [ClipRequest(str(i), short, decoder="pyav") for i in range(20)]
    together = [pack for pack in lane_packs(requests, SETTINGS) if pack]
    alone = [pack for pack in lane_packs(requests, replace(SETTINGS, pack_bytes=0)) if pack]
    assert len(together) < len(alone) == 60 and {len(pack) for pack in alone} == {1}
    for one, other in zip((e for p in together for e in p), (e for p in alone for e in p), strict=True):
        assert type(one) is type(other) and one.clip == other.clip
        if isinstance(one, Chunk) and isinstance(other, Chunk):
            np.testing.assert_array_equal(one.frames, other.frames)


def test_a_worker_that_dies_once_costs_nothing(video: tuple[Path, Plain]) -> None:
    retries: list[bool] = []
    events = kill_at([ClipRequest("a", str(video[0]))], SETTINGS, 1, on_retry=lambda: retries.append(True))
    assert retries == [True]
    opened = [event.info.decoder for event in events if isinstance(event, Opened)]
    assert opened == ["decord", "pyav"], "started over, by PyAV"
    assert isinstance(events[-1], Finished) and events[-1].frames == 60


def test_a_worker_that_dies_every_time_costs_its_clip_after_pauses(
    video: tuple[Path, Plain], monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("pipeline.decode.stream.time.sleep", pauses.append)
    events = kill_at([ClipRequest("a", str(video[0]))], SETTINGS, 3)
    assert isinstance(events[-1], Failed) and "3 time(s)" in events[-1].message
    assert pauses == [1.0, 4.0]


def _silent(*_: Any, **__: Any) -> Iterator[list[Event]]:
    yield []
    time.sleep(120)


def test_a_worker_that_hangs_is_given_up(video: tuple[Path, Plain], monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    hanging = ray.remote(num_returns="streaming", max_retries=0)(_silent)
    monkeypatch.setattr("pipeline.decode.stream._remote_lane", lambda: hanging)
    settings = DecodeSettings(hang_seconds=5.0, crash_retries=0)
    began = time.monotonic()
    events = list(stream([ClipRequest("a", str(video[0])), ClipRequest("b", str(video[0]))], settings))
    assert time.monotonic() - began < 60
    assert [type(e) for e in events] == [Failed, Failed]
    assert [(e.stage, e.error_type) for e in events if isinstance(e, Failed)] == [("decode", "Timeout")] * 2


def test_frames_that_are_lost_with_their_node_start_their_clip_over(
    video: tuple[Path, Plain], monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray
    from ray.exceptions import GetTimeoutError

    get, asked = ray.get, []

    def first_is_lost(reference: Any, *, timeout: float | None = None) -> Any:
        asked.append(timeout)
        if len(asked) == 1:
            raise GetTimeoutError("the object is on a node that is gone")
        return get(reference, timeout=timeout)

    monkeypatch.setattr(ray, "get", first_is_lost)
    retries: list[bool] = []
    requests = [ClipRequest("a", str(video[0]))]
    *_, last = stream(requests, SETTINGS, on_retry=lambda: retries.append(True))
    assert isinstance(last, Finished) and last.frames == 60
    assert retries == [True]
    assert asked[0], "Ray would wait for ever"


def _late(*args: Any) -> Iterator[Any]:
    time.sleep(9)
    yield from lane_packs(*args)


def test_a_worker_that_waits_for_its_start_is_not_given_up(
    video: tuple[Path, Plain], monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    late = ray.remote(num_returns="streaming", max_retries=0)(_late)
    monkeypatch.setattr("pipeline.decode.stream._remote_lane", lambda: late)
    settings = DecodeSettings(hang_seconds=6.0, crash_retries=0)
    events = list(stream([ClipRequest("a", str(video[0]))], settings))
    assert isinstance(events[-1], Finished) and events[-1].frames == 60


def test_closing_early_ends_the_worker(video: tuple[Path, Plain]) -> None:
    events = stream([ClipRequest("a", str(video[0]))] * 50, SETTINGS)
    for event in events:
        if isinstance(event, Chunk):
            break
    assert len(workers()) == 1
    events.close()  # type: ignore[attr-defined]
    deadline = time.monotonic() + 30
    while workers():
        assert time.monotonic() < deadline, "decoding goes on without a consumer"
        time.sleep(0.2)


def test_lanes_run_at_once_and_cleanly(video: tuple[Path, Plain]) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def lane(number: int) -> int:
        events = stream([ClipRequest(str(number), str(video[0]))] * 2, SETTINGS)
        return sum(event.frames for event in events if isinstance(event, Finished))

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(lane, range(3))) == [120] * 3
    assert workers() == []


def test_claims_that_are_never_met_are_given_up(video: tuple[Path, Plain], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.decode.stream.CLAIM_SECONDS", 2.0)
    path, reference = video
    began = time.monotonic()
    (clip,) = read_clips([ClipRequest("a", str(path))], replace(SETTINGS, num_cpus=64.0))
    assert isinstance(clip.end, Finished) and len(clip.frames) == len(reference.frames)
    assert time.monotonic() - began > 2.0
