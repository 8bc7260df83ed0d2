"""What `track_video` reads frames from: files, folders of pictures, arrays and generators give the same results."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import model.track.one_video as tracking
from benchmarks.null_model import NullEngine
from model import track_video
from model.track.start_box import StartBox
from model.video import VideoError
from tests.pipeline.videos import make_video, plain

BOX = (40.0, 24.0, 16.0, 16.0)
FRAMES = 8


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("video") / "v.mp4", FRAMES, width=64, height=48, lossless=True)


@pytest.fixture(scope="module")
def frames(video: Path) -> list[np.ndarray]:
    return plain(video).frames


def _rows(source: Any, boxes: Any = None, **options: Any) -> list[tuple]:
    made = track_video(source, boxes or {"a": BOX}, device="cpu", precision="fp32", **options)
    return [(r.frame_index, name, o.rle["counts"], o.score) for r in made for name, o in sorted(r.objects.items())]


def test_every_source_gives_what_the_file_gives(video: Path, frames: list[np.ndarray], tmp_path: Path) -> None:
    expected = _rows(video, start_frame=1, end_frame=4)
    for number, frame in enumerate(frames):
        cv2.imwrite(str(tmp_path / f"{number}.png"), frame[..., ::-1])
    same_buffer = np.empty_like(frames[0])

    def refilled() -> Iterator[np.ndarray]:
        for frame in frames:
            same_buffer[:] = frame
            yield same_buffer

    sources = (tmp_path, str(tmp_path / "%d.png"), frames, np.stack(frames), iter(frames), refilled())
    for source in sources:
        assert _rows(source, start_frame=1, end_frame=4) == expected
    assert {row[0] for row in expected} == {1, 2, 3}


def test_arrays_are_tracked_both_ways(video: Path, frames: list[np.ndarray]) -> None:
    boxes = [StartBox("a", BOX, 4, None, "both"), StartBox.from_mask("b", _mask(), 2, 5, "backward")]
    assert _rows(frames, boxes) == _rows(video, boxes)


def test_times_are_those_of_the_rate(frames: list[np.ndarray], tmp_path: Path) -> None:
    for number, frame in enumerate(frames[:3]):
        cv2.imwrite(str(tmp_path / f"{number}.png"), frame)
    for source in (tmp_path, frames[:3], iter(frames[:3])):
        made = track_video(source, {"a": BOX}, device="cpu", fps=10)
        assert [result.pts_s for result in made] == pytest.approx([0, 0.1, 0.2])
    assert [r.pts_s for r in track_video(frames[:2], {"a": BOX}, device="cpu")] == pytest.approx([0, 0.04])


def test_a_generator_is_gone_through_once_with_few_frames_held(
    monkeypatch: pytest.MonkeyPatch, frames: list[np.ndarray]
) -> None:
    class Engine(NullEngine):
        def __enter__(self) -> Engine:
            return self

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(tracking, "Engine", lambda *_, **__: Engine())
    alive, most, made = 0, 0, 0

    def gone() -> None:
        nonlocal alive
        alive -= 1

    def source() -> Iterator[np.ndarray]:
        nonlocal alive, most, made
        for number in itertools.count():
            frame = frames[number % FRAMES].copy()
            alive, made = alive + 1, made + 1
            most = max(most, alive)
            weakref.finalize(frame, gone)
            yield frame
            del frame

    endless = source()
    results = track_video(endless, {"a": BOX}, init_frames={"a": 3}, end_frame=400, device="cpu")
    assert made == 1
    taken = list(itertools.islice(results, 5))
    assert made <= 6 and [len(result.objects) for result in taken] == [0, 0, 0, 1, 1]
    assert sum(1 for _ in results) == 395
    assert made == 400 and most <= 3
    assert next(endless) is not None, "the rest is the caller's"


def test_progress_of_a_generator(frames: list[np.ndarray]) -> None:
    for options, total in (({}, 0), ({"end_frame": 2}, 2)):
        seen: list[tuple[int, int]] = []
        _rows(iter(frames[:2]), progress=lambda done, total, seen=seen: seen.append((done, total)), **options)
        assert seen == [(1, total), (2, total)]
    _rows(iter(frames[:2]), progress=True)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ([], "expected frames as arrays, got none"),
        (iter([]), "expected frames as arrays, got none"),
        (7, "expected the path of a video or its frames as arrays, got int"),
        ({"a": 1}, "expected the path of a video or its frames as arrays, got dict"),
        (["a.png", "b.png"], r"frame 0: expected uint8 \[H, W, 3\], RGB, got str"),
        ([None], r"frame 0: expected uint8 \[H, W, 3\], RGB, got NoneType"),
        (np.zeros((48, 64, 3), np.uint8), r"frame 0: expected uint8 \[H, W, 3\], RGB, got uint8 \[64, 3\]"),
        (np.zeros((2, 3, 48, 64), np.uint8), r"frame 0: expected .*, got uint8 \[3, 48, 64\]"),
        (np.zeros((2, 48, 64, 3)), r"frame 0: expected .*, got float64 \[48, 64, 3\]"),
        ([np.zeros((48, 64), np.uint8)], r"frame 0: expected .*, got uint8 \[48, 64\]"),
        (np.zeros((2, 0, 64, 3), np.uint8), r"frame 0: expected .*, got uint8 \[0, 64, 3\]"),
    ],
)
def test_what_is_no_video_is_said_before_any_frame(source: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        track_video(source, {"a": BOX}, device="cpu")


def test_frames_that_do_not_fit_are_named(frames: list[np.ndarray]) -> None:
    bad = np.zeros((40, 64, 3), np.uint8)
    for source in ([*frames[:3], bad], iter([*frames[:3], bad])):
        results = track_video(source, {"a": BOX}, device="cpu")
        with pytest.raises(ValueError, match=r"frame 3: expected uint8 \[48, 64, 3\] as frame 0, RGB, got uint8 \[40"):
            list(results)
    with pytest.raises(ValueError, match="frame 1: .* got NoneType"):
        list(track_video(iter([frames[0], None]), {"a": BOX}, device="cpu"))


def test_a_generator_is_not_tracked_backward(frames: list[np.ndarray]) -> None:
    for direction in ("backward", "both"):
        with pytest.raises(ValueError, match="object 'a': .* backward needs the frames twice, and the generator of"):
            track_video((f for f in frames), [StartBox("a", BOX, 3, None, direction)], device="cpu")  # type: ignore[arg-type]
    assert len(_rows(iter(frames), [StartBox("a", BOX, None, None, "both")])) == FRAMES, "it starts on the first frame"


def test_an_init_frame_beyond_a_generators_end_is_named(frames: list[np.ndarray]) -> None:
    results = track_video(iter(frames), {"a": BOX}, init_frames={"a": 30}, device="cpu")
    with pytest.raises(ValueError, match="object 'a': its init frame 30 is not among frames 0 to 7"):
        list(results)
    results = track_video(iter(frames), {"a": BOX}, start_frame=20, device="cpu")
    with pytest.raises(ValueError, match="init frame 20 is not there: tracking starts on frame 20, and the video has"):
        list(results)
    with pytest.raises(ValueError, match="object 'a': its init frame 1 is not there: tracking starts on frame 2$"):
        track_video(iter(frames), {"a": BOX}, init_frames={"a": 1}, start_frame=2, device="cpu")


def test_an_empty_folder_and_a_rate_that_is_none(tmp_path: Path, frames: list[np.ndarray]) -> None:
    with pytest.raises(VideoError):
        track_video(tmp_path, {"a": BOX}, device="cpu")
    with pytest.raises(ValueError, match="fps 0: expected frames a second, above 0"):
        track_video(frames, {"a": BOX}, device="cpu", fps=0)


def _mask() -> np.ndarray:
    mask = np.zeros((48, 64), np.uint8)
    mask[10:30, 20:40] = 1
    return mask
