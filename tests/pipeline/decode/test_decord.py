"""decord kept honest: bounded, replaceable, and not believed without evidence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.decode import Chunk, ClipRequest, DecodeSettings, Event, Finished, Opened
from pipeline.decode import clip as clip_module
from pipeline.decode import excerpts as excerpts_module
from pipeline.decode.stream import stream
from tests.pipeline.videos import Plain, make_video, plain, read_clip

decord = pytest.importorskip("decord")
FRAME = 128 * 96 * 3
SETTINGS = DecodeSettings(in_process=True, chunk_bytes=4 * FRAME)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Plain]:
    path = make_video(tmp_path_factory.mktemp("decord") / "v.mp4", 60)
    return path, plain(path)


@pytest.fixture
def small_excerpts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A group of pictures each, so that a video of 60 frames has five."""
    monkeypatch.setattr(excerpts_module, "USUAL", 0)


def follow(path: Path) -> tuple[list[Event], dict[int, Any]]:
    """The events, and the frames since the last Opened."""
    events: list[Event] = []
    frames: dict[int, Any] = {}
    for event in stream([ClipRequest("c", str(path))], SETTINGS):
        events.append(event)
        if isinstance(event, Opened):
            frames = {}
        if isinstance(event, Chunk):
            frames.update(zip(event.frame_index.tolist(), event.frames, strict=True))
    return events, frames


def check(frames: dict[int, Any], reference: Plain) -> None:
    assert list(frames) == list(range(60))
    for index, frame in frames.items():
        np.testing.assert_array_equal(frame, reference.frames[index])


def change_next(monkeypatch: pytest.MonkeyPatch, change: Callable[[int, Any], Any]) -> None:
    """Have decord give `change(how many frames it gave before, its frame)`."""
    original, given = decord.VideoReader.next, [0]

    def changed(reader: Any) -> Any:
        frame = change(given[0], original(reader))
        given[0] += 1
        return frame

    monkeypatch.setattr(decord.VideoReader, "next", changed)


@pytest.mark.parametrize(
    "error",
    [
        decord.DECORDError("broken"),
        decord._ffi.base.DECORDLimitReachedError("recovered from nearest frames"),
        StopIteration(),
        RuntimeError("broken"),
        AssertionError(),
    ],
)
@pytest.mark.parametrize("after", [0, 1, 14, 59])
@pytest.mark.usefixtures("small_excerpts")
def test_pyav_takes_over_where_decord_raises(
    video: tuple[Path, Plain], monkeypatch: pytest.MonkeyPatch, error: Exception, after: int
) -> None:
    path, reference = video

    def fail(number: int, frame: Any) -> Any:
        if number == after:
            raise error
        return frame

    change_next(monkeypatch, fail)
    events, frames = follow(path)
    check(frames, reference)
    opened = [event.info.decoder for event in events if isinstance(event, Opened)]
    assert opened == (["pyav"] if after < 4 else ["decord"]), "taken over, not started over"
    assert isinstance(events[-1], Finished) and events[-1].decoder == "pyav"


@pytest.mark.parametrize("excerpt", [1, 3])
@pytest.mark.usefixtures("small_excerpts")
def test_pyav_takes_over_where_decord_cannot_open_an_excerpt(
    video: tuple[Path, Plain], monkeypatch: pytest.MonkeyPatch, excerpt: int
) -> None:
    path, reference = video
    original, opened = decord.VideoReader.__init__, [0]

    def fail(reader: Any, *given: Any, **named: Any) -> None:
        opened[0] += 1
        reader._handle = None
        if opened[0] >= excerpt:
            raise decord.DECORDError("cannot open")
        original(reader, *given, **named)

    monkeypatch.setattr(decord.VideoReader, "__init__", fail)
    events, frames = follow(path)
    check(frames, reference)
    assert isinstance(events[-1], Finished) and events[-1].decoder == "pyav"


@pytest.mark.parametrize("after", [0, 5, 12, 24, 48])
@pytest.mark.usefixtures("small_excerpts")
def test_a_wrong_frame_starts_the_clip_over(
    video: tuple[Path, Plain], monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """From a certain point on decord gives the frame before, as after a silent loss: at the first frame or later."""
    path, reference = video
    before: list[Any] = []

    def shift(number: int, frame: Any) -> Any:
        before.append(frame)
        return before[max(0, number - 1)] if number >= after else frame

    if after == 0:
        black = decord.nd.array(np.zeros((96, 128, 3), np.uint8))
        change_next(monkeypatch, lambda number, frame: black)
    else:
        change_next(monkeypatch, shift)
    events, frames = follow(path)
    check(frames, reference)
    opened = [event.info.decoder for event in events if isinstance(event, Opened)]
    assert opened == (["pyav"] if after == 0 else ["decord", "pyav"])
    assert isinstance(events[-1], Finished) and events[-1].decoder == "pyav"


def test_decord_never_holds_more_than_an_excerpt(video: tuple[Path, Plain], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(excerpts_module, "USUAL", 24 * FRAME)
    original, lengths = decord.VideoReader.__init__, []

    def measured(reader: Any, *given: Any, **named: Any) -> None:
        original(reader, *given, **named)
        lengths.append(len(reader))

    monkeypatch.setattr(decord.VideoReader, "__init__", measured)
    assert read_clip(video[0]).end.decoder == "decord"
    assert lengths == [24, 24, 12]
    lengths.clear()
    assert list(read_clip(video[0], start_frame=15, end_frame=30).frames) == list(range(15, 30))
    assert sum(lengths) <= 24, "of the groups that the range touches, and not beyond its last frame"


def test_a_group_of_pictures_that_is_too_large_is_left_to_pyav(
    video: tuple[Path, Plain], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(excerpts_module, "LARGEST", 12 * FRAME - 1)
    assert read_clip(video[0]).end.decoder == "pyav"


def test_a_stride_is_left_to_pyav(video: tuple[Path, Plain]) -> None:
    """decord converts every frame to RGB."""
    read = read_clip(video[0], stride=3)
    assert read.end.decoder == "pyav" and list(read.frames) == list(range(0, 60, 3))


def test_large_pictures_are_left_to_pyav_which_has_them_for_less(tmp_path: Path) -> None:
    path = make_video(tmp_path / "large.mp4", 3, width=1296, height=720, still=True)
    assert read_clip(path).end.decoder == "pyav"
    path = make_video(tmp_path / "hd.mp4", 3, width=1280, height=720, still=True)
    assert read_clip(path).end.decoder == "decord"


def test_the_log_says_why_pyav_decodes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = make_video(tmp_path / "ten.mp4", 8, pix_fmt="yuv420p10le")
    with caplog.at_level("INFO", clip_module.__name__):
        list(stream([ClipRequest("c", str(path))], SETTINGS))
    assert "frame 0 is not PyAV's" in caplog.text and "ten.mp4" in caplog.text
