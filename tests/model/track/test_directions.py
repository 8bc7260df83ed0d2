"""Objects tracked backward and both ways: as the reversed video is tracked forward, in bounded memory."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import model.track.one_video as tracking
from benchmarks.null_model import NullEngine
from model import track_video
from model.track.results import FrameResult, ObjectResult
from model.track.start_box import StartBox
from model.video import frames
from model.video.reader import Video
from tests.pipeline.videos import make_video

FRAMES, MIDDLE = 20, 8
AT = {number: (float(number * 5 % 112), float(number * 3 % 80), 16.0, 16.0) for number in range(FRAMES)}


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A video, and the same pictures in the opposite order."""
    folder = tmp_path_factory.mktemp("videos")
    return (
        make_video(folder / "v.mp4", FRAMES, lossless=True),
        make_video(folder / "reversed.mp4", FRAMES, lossless=True, backward=True),
    )


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames are read backward in several pieces, some of which begin within a group of pictures."""
    monkeypatch.setattr(frames, "PIECE_BYTES", 0)


def _tracks(path: Path, starts: list[StartBox], **options: Any) -> list[FrameResult]:
    return list(track_video(path, starts, device="cpu", precision="fp32", **options))


def _reversed(path: Path, starts: list[StartBox]) -> list[FrameResult]:
    """The reversed video's results, in the order of the video's frames; starts name the video's frames."""
    mirrored = [StartBox(s.object_id, s.box, FRAMES - 1 - s.frame) for s in starts if s.frame is not None]
    return _tracks(path, mirrored)[::-1]


def _assert_same(one: ObjectResult, other: ObjectResult) -> None:
    assert one.rle == other.rle
    assert (one.score, one.presence, one.state, one.area) == (other.score, other.presence, other.state, other.area)
    assert np.array_equal(one.bbox, other.bbox) and np.array_equal(one.corners, other.corners)


@pytest.mark.parametrize("box", [AT[MIDDLE], (60.0, 40.0, 30.0, 20.0)])
def test_both_is_a_forward_run_and_a_run_over_the_reversed_video(
    videos: tuple[Path, Path], box: tuple[float, float, float, float]
) -> None:
    path, mirror = videos
    both = _tracks(path, [StartBox("a", box, MIDDLE, None, "both")])
    alone = [StartBox("a", box, MIDDLE)]
    forward, backward = _tracks(path, alone), _reversed(mirror, alone)
    assert [result.frame_index for result in both] == list(range(FRAMES))
    assert [result.pts_s for result in both] == [result.pts_s for result in forward]
    for number, result in enumerate(both):
        expected = (forward if number >= MIDDLE else backward)[number]
        _assert_same(result.objects["a"], expected.objects["a"])
    assert both[MIDDLE].objects["a"].bbox.tolist() == list(box)


def test_between_key_frames_the_surer_track_wins(videos: tuple[Path, Path]) -> None:
    path, mirror = videos
    beside = (70.0, 30.0, 16.0, 16.0)  # a poor box, of whose track the model is less sure
    boxes = {2: AT[2], 9: beside, 17: AT[17]}
    made = _tracks(path, [StartBox("a", box, number, None, "both") for number, box in boxes.items()])
    keys = [StartBox("a", box, number) for number, box in boxes.items()]
    forward, backward = _tracks(path, keys), _reversed(mirror, keys)
    surer = []
    for number, result in enumerate(made):
        sides = [(side[number].objects["a"], name) for side, name in ((forward, "forward"), (backward, "backward"))
                 if "a" in side[number].objects]  # fmt: skip
        expected, name = max(sides, key=lambda side: side[0].presence)
        _assert_same(result.objects["a"], expected)
        surer.append(name)
    assert surer[:2] == 2 * ["backward"] and surer[3:9] == 6 * ["forward"] and surer[10:17] == 7 * ["backward"]


def test_objects_of_all_directions_share_a_video(videos: tuple[Path, Path]) -> None:
    starts = [
        StartBox("back", AT[9], 9, None, "backward"),
        StartBox("both", AT[5], 5, 8, "both"),
        StartBox("on", AT[4], 4),
    ]
    made = _tracks(videos[0], starts, start_frame=3, end_frame=12, images=True)
    seen = {name: [r.frame_index for r in made if name in r.objects] for name in ("back", "both", "on")}
    assert seen == {"back": list(range(3, 10)), "both": list(range(3, 8)), "on": list(range(4, 12))}
    assert all(list(result.objects) == sorted(result.objects) and result.image is not None for result in made)


def test_progress_counts_the_frames_of_both_passes(videos: tuple[Path, Path]) -> None:
    seen: list[tuple[int, int]] = []
    starts = [StartBox("a", AT[3], 3, None, "both")]
    _tracks(videos[0], starts, end_frame=6, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 10) for done in range(1, 11)]


def test_a_direction_that_is_none_is_named(videos: tuple[Path, Path]) -> None:
    said = "object 'a': direction 'back': expected forward, backward or both"
    with pytest.raises(ValueError, match=said):
        track_video(videos[0], [StartBox("a", AT[3], 3, None, "back")])  # type: ignore[arg-type]


def test_an_init_frame_that_is_not_decoded_is_named(videos: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    read = Video.read_backward
    monkeypatch.setattr(Video, "read_backward", lambda *args: (f for f in read(*args) if f.index != 9))
    with pytest.raises(ValueError, match="object 'a': its init frame 9 could not be decoded"):
        _tracks(videos[0], [StartBox("a", AT[9], 9, None, "both")])


def test_frames_that_turn_out_to_have_another_index_are_tracked_again(
    videos: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    read, passes = Video.read_backward, []

    def mistaken(video: Video, start: int, end: int) -> Any:
        passes.append(video.index)
        for frame in read(video, start, end):
            yield frame if len(passes) > 1 else type(frame)(frame.index, frame.pts_s, 255 - frame.image)
        if len(passes) == 1:
            video.index = tracking.open_video(videos[0]).index

    starts = [StartBox("a", AT[5], 5, None, "both")]
    expected = _tracks(videos[0], starts, end_frame=6)
    monkeypatch.setattr(Video, "read_backward", mistaken)
    made = _tracks(videos[0], starts, end_frame=6)
    assert len(passes) == 2
    for one, other in zip(made, expected, strict=True):
        _assert_same(one.objects["a"], other.objects["a"])


def test_many_frames_are_tracked_both_ways_with_few_of_them_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_video(tmp_path / "long.mp4", 3000, width=64, height=48, group=30)
    alive, most = 0, 0

    class Engine(NullEngine):
        def __enter__(self) -> Engine:
            return self

        def __exit__(self, *_: object) -> None:
            pass

    def gone() -> None:
        nonlocal alive
        alive -= 1

    read = Video._read

    def counted(*args: Any) -> Any:
        nonlocal alive, most
        for frame in read(*args):
            alive += 1
            most = max(most, alive)
            weakref.finalize(frame.image, gone)
            yield frame
            del frame

    monkeypatch.setattr(Video, "_read", staticmethod(counted))
    monkeypatch.setattr(tracking, "Engine", lambda *_, **__: Engine())
    rows = sum(
        len(result.objects)
        for result in track_video(path, [StartBox("a", (9, 9, 9, 9), 1500, None, "both")], device="cpu")
    )
    assert rows == 3000
    assert most <= frames.PIECE_FRAMES + 3
