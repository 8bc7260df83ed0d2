"""decord kept honest: in a process of its own that is bounded, replaceable, and not believed without evidence."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from pipeline.decode import Chunk, ClipRequest, DecodeSettings, Event, Finished, Opened
from pipeline.decode import clip as clip_module
from pipeline.decode.decord_process import DecordProcess
from pipeline.frames import stream
from tests.pipeline.videos import Plain, make_video, plain

FRAME = 128 * 96 * 3
SETTINGS = DecodeSettings(in_process=True, chunk_bytes=4 * FRAME, hang_seconds=6.0)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Plain]:
    path = make_video(tmp_path_factory.mktemp("decord") / "v.mp4", 60)
    return path, plain(path)


def children() -> list[psutil.Process]:
    """The decord processes of this one."""
    return [p for p in psutil.Process().children() if "decord_child" in " ".join(p.cmdline())]


def follow(path: Path, at_chunk: Callable[[int], None], stride: int = 1) -> tuple[list[Event], dict[int, Any]]:
    """Read with a hook at every chunk; returns the events and the frames since the last Opened."""
    events: list[Event] = []
    frames: dict[int, Any] = {}
    for event in stream([ClipRequest("c", str(path), stride=stride)], SETTINGS):
        events.append(event)
        if isinstance(event, Opened):
            frames = {}
        if isinstance(event, Chunk):
            frames.update(zip(event.frame_index.tolist(), event.frames, strict=True))
            at_chunk(sum(isinstance(e, Chunk) for e in events))
    return events, frames


def check(frames: dict[int, Any], reference: Plain, stride: int = 1) -> None:
    assert list(frames) == list(range(0, 60, stride))
    for index, frame in frames.items():
        np.testing.assert_array_equal(frame, reference.frames[index])


@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV])
def test_pyav_takes_over_where_decord_dies(video: tuple[Path, Plain], how: signal.Signals, stride: int) -> None:
    path, reference = video

    def kill(chunk: int) -> None:
        if chunk == 3:
            for child in children():
                child.send_signal(how)
                child.send_signal(signal.SIGCONT)
                child.wait(10)

    events, frames = follow(path, kill, stride)
    check(frames, reference, stride)
    opened = [event for event in events if isinstance(event, Opened)]
    assert [event.info.decoder for event in opened] == ["decord"], "taken over, not started over"
    assert isinstance(events[-1], Finished) and events[-1].decoder == "pyav"
    assert children() == []


def test_pyav_takes_over_where_decord_hangs(video: tuple[Path, Plain], monkeypatch: pytest.MonkeyPatch) -> None:
    path, reference = video

    def never(self: DecordProcess) -> None:
        return None

    def freeze(chunk: int) -> None:
        if chunk == 3:
            monkeypatch.setattr(DecordProcess, "_wake", never)

    began = time.monotonic()
    events, frames = follow(path, freeze)
    check(frames, reference)
    assert isinstance(events[-1], Finished) and events[-1].decoder == "pyav"
    assert time.monotonic() - began > SETTINGS.hang_seconds / 3
    assert children() == []


def test_pyav_takes_over_where_decord_grows(video: tuple[Path, Plain], monkeypatch: pytest.MonkeyPatch) -> None:
    path, reference = video
    monkeypatch.setattr(DecordProcess.__init__, "__kwdefaults__", {"max_resident": 1 << 20})
    events, frames = follow(path, lambda _: None)
    check(frames, reference)
    assert isinstance(events[-1], Finished) and events[-1].decoder == "pyav"


class Shifted(DecordProcess):
    """Gives the frames of another video from a certain point on, as decord does after a silent loss."""

    after = 6

    def answer(self, patience: float) -> Any:
        message = yield from super().answer(patience)
        if "filled" in message:
            self.count = getattr(self, "count", 0) + 1
            if self.count >= self.after:
                memory = self.shared()
                memory[:] = np.roll(memory, FRAME)
        return message


@pytest.mark.parametrize("after", [1, 3, 6, 12])
def test_a_wrong_frame_starts_the_clip_over(
    video: tuple[Path, Plain], monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """Whether decord errs at the first frame or later."""
    path, reference = video
    monkeypatch.setattr("pipeline.decode.lane.DecordProcess", Shifted)
    monkeypatch.setattr(Shifted, "after", after)
    events, frames = follow(path, lambda _: None)
    check(frames, reference)
    opened = [event.info.decoder for event in events if isinstance(event, Opened)]
    assert opened == (["pyav"] if after == 1 else ["decord", "pyav"])
    assert isinstance(events[-1], Finished) and events[-1].decoder == "pyav"


def test_the_process_is_stopped_while_nobody_reads(video: tuple[Path, Plain]) -> None:
    path, _ = video
    states: list[str] = []

    def wait(chunk: int) -> None:
        if chunk in (2, 5):
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline and children()[0].status() != psutil.STATUS_STOPPED:
                time.sleep(0.05)
            states.append(children()[0].status())

    follow(path, wait)
    assert states == [psutil.STATUS_STOPPED] * 2


def test_one_process_serves_a_lane_and_ends_with_it(video: tuple[Path, Plain]) -> None:
    path, _ = video
    pids: set[int] = set()
    for event in stream([ClipRequest(str(n), str(path)) for n in range(3)], SETTINGS):
        if isinstance(event, Chunk):
            pids.update(child.pid for child in children())
    assert len(pids) == 1
    assert children() == []


def test_closing_early_ends_the_process(video: tuple[Path, Plain]) -> None:
    events = stream([ClipRequest("c", str(video[0]))], SETTINGS)
    for event in events:
        if isinstance(event, Chunk):
            break
    assert len(children()) == 1
    assert isinstance(events, Iterator)
    events.close()  # type: ignore[attr-defined]
    assert children() == []


def test_the_process_dies_with_its_parent(video: tuple[Path, Plain]) -> None:
    reader, writer = os.pipe()
    parent = os.fork()
    if parent == 0:
        for event in stream([ClipRequest("c", str(video[0]))], SETTINGS):
            if isinstance(event, Chunk):
                os.write(writer, str(children()[0].pid).encode())
                time.sleep(60)
        os._exit(0)
    pid = int(os.read(reader, 20))
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    deadline = time.monotonic() + 20
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "decord outlived its parent"
        time.sleep(0.1)


def test_no_secret_reaches_the_process(video: tuple[Path, Plain], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    seen: list[dict[str, str]] = []
    follow(video[0], lambda chunk: seen.append(children()[0].environ()) if chunk == 1 else None)
    assert seen and not any("AWS" in name or "hidden" in value for name, value in seen[0].items())


def test_the_log_says_why_pyav_decodes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_video(tmp_path / "ten.mp4", 8, pix_fmt="yuv420p10le")
    with caplog.at_level("INFO", clip_module.__name__):
        list(stream([ClipRequest("c", str(path))], SETTINGS))
    assert "frame 0 is not PyAV's" in caplog.text and "ten.mp4" in caplog.text
