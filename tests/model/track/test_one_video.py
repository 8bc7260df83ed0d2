"""Tracking one video in this process: the engine's own answers, every frame, bounded memory, clear errors."""

from __future__ import annotations

import itertools
import json
from concurrent.futures import Future
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco

from model import collect, track_video
from model.engine import Engine
from model.masks.finish import finish
from model.track.one_video import BUNDLED_WEIGHTS
from model.track.start_box import StartBox
from model.tracker import params_from_json
from model.tracker.presence import presence_of
from model.video import VideoError, open_video
from model.video.writer import VideoWriter
from model.weights import load_weights
from tests.pipeline.videos import make_video, plain

BOX = (40.0, 30.0, 40.0, 40.0)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve frames of a bright disc that moves 3 px a frame over noise."""
    path = tmp_path_factory.mktemp("video") / "disc.mp4"
    ground = np.random.default_rng(1).integers(40, 120, (120, 200, 3), np.uint8)
    with VideoWriter(path, 24, quality=10) as writer:
        for number in range(12):
            picture = cv2.GaussianBlur(ground, (0, 0), 1.5)
            cv2.circle(picture, (60 + 3 * number, 50 + number), 20, (230, 150, 30), -1, cv2.LINE_AA)
            writer.write(picture)
    return path


def test_results_are_the_engines_own(video: Path) -> None:
    """Against the engine stepped by hand over PyAV's plain reading, so that order, colours and rows are right."""
    made = list(track_video(video, {"disc": BOX}, device="cpu", precision="fp32"))
    loaded = load_weights(BUNDLED_WEIGHTS)
    params, presence = params_from_json(json.dumps(loaded.metadata["tracker"])), presence_of(loaded.metadata)
    with Engine(loaded.model, params, presence=presence) as engine:
        track = None
        for number, image in enumerate(plain(video).frames):
            bgr = image[..., ::-1]
            if track is None:
                track, output = engine.init(bgr, BOX).result()
            else:
                output = engine.step(track, bgr).result()
            row, result = finish(output, 120, 200), made[number].objects["disc"]
            assert (made[number].frame_index, made[number].pts_s) == (number, pytest.approx(number / 24))
            assert result.rle == row.rle and result.area == row.area
            box = list(output.box) if number == 0 else coco.toBbox(row.rle).tolist()
            assert result.bbox.tolist() == box and result.score == output.score
            assert (result.presence, result.state) == (output.presence, "tracked")
            assert result.corners.tolist() == row.corners.tolist()
    assert len(made) == 12
    assert made[0].objects["disc"].bbox.tolist() == list(BOX)


def test_the_disc_is_found(video: Path) -> None:
    *_, last = track_video(video, {"disc": BOX}, device="cpu", precision="fp32", images=True)
    truth = np.zeros((120, 200), np.uint8)
    cv2.circle(truth, (60 + 33, 50 + 11), 20, 1, -1)
    mask = last.objects["disc"].mask
    assert mask.dtype == bool and mask.sum() == last.objects["disc"].area
    assert (mask & (truth > 0)).sum() / (mask | (truth > 0)).sum() > 0.7
    drawn = last.overlay()
    assert drawn.shape == last.image.shape and (drawn != last.image).any()


def test_objects_start_on_their_frames_and_key_frames_start_them_anew(video: Path) -> None:
    boxes = [StartBox("a", BOX), StartBox("b", (76, 44, 40, 40), 6, 8), StartBox("a", (58, 36, 40, 40), 6)]
    made = list(track_video(video, boxes, start_frame=2, end_frame=9, device="cpu", precision="fp32"))
    assert [result.frame_index for result in made] == [2, 3, 4, 5, 6, 7, 8]
    assert made[0].pts_s == pytest.approx(2 / 24)
    assert [sorted(result.objects) for result in made] == [["a"]] * 4 + [["a", "b"]] * 2 + [["a"]]
    assert made[4].objects["a"].bbox.tolist() == [58, 36, 40, 40] and made[4].objects["a"].score == 1
    named = list(track_video(video, {"a": BOX, "b": BOX}, init_frames={"b": 4}, end_frame=6, device="cpu"))
    assert [sorted(result.objects) for result in named] == [["a"]] * 4 + [["a", "b"]] * 2


def test_collect_gathers_arrays(video: Path) -> None:
    tracks = collect(track_video(video, {"x": BOX}, end_frame=4, device="cpu", precision="fp32", images=True))
    track = tracks["x"]
    assert track.frame_index.tolist() == [0, 1, 2, 3]
    assert (track.bbox.shape, track.rbox.shape, track.corners.shape) == ((4, 4), (4, 5), (4, 8))
    assert np.array_equal(track.mask(3), coco.decode(track.rles[3]) > 0)
    assert track.area[3] == track.mask(3).sum()


def test_frames_are_read_only_as_they_are_asked_for(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import model.track.one_video as tracking

    read = []

    class Counting:
        def __init__(self, opened):
            self.opened = opened

        def __getattr__(self, name):
            return getattr(self.opened, name)

        def read(self, first, end):
            for frame in self.opened.read(first, end):
                read.append(frame.index)
                yield frame

    monkeypatch.setattr(tracking, "open_video", lambda path: Counting(open_video(path)))
    results = track_video(video, {"x": BOX}, device="cpu", precision="fp32")
    assert read == []
    taken = list(itertools.islice(results, 3))
    assert len(taken) == 3 and len(read) <= 4, "one frame ahead, no more"
    assert taken[0].image is None
    results.close()


def test_progress_counts_frames(video: Path) -> None:
    seen: list[tuple[int, int]] = []
    for _ in track_video(
        video, {"x": BOX}, end_frame=3, device="cpu", progress=lambda done, total: seen.append((done, total))
    ):
        pass
    assert seen == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"boxes": {}}, "no box"),
        ({"boxes": {"x": (300, 10, 5, 5)}}, "object 'x': the init box .* lies outside the 200x120 frame"),
        ({"boxes": {"x": (3, 10, 0, 5)}}, "'x'.*no area"),
        ({"init_frames": {"x": 12}}, "'x': its init frame 12 is not among frames 0 to 11"),
        ({"boxes": [StartBox("x", BOX), StartBox("x", BOX, 0)]}, "object 'x': it starts twice on frame 0"),
        ({"init_frames": {"y": 1}}, "init_frames names y"),
        ({"start_frame": 12}, "it has 12 frames"),
        ({"rotated_box": "round"}, "rotated_box 'round'"),
        ({"precision": "fp8"}, "fp8"),
        ({"preset": "nope"}, "nope"),
    ],
)
def test_what_cannot_be_is_said_before_any_frame(video: Path, options: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        track_video(video, options.pop("boxes", {"x": BOX}), device="cpu", **options)


@pytest.mark.parametrize(
    ("content", "said"), [(None, "no such file"), (b"", "not a video"), (b"hello, world" * 99, "not a video")]
)
def test_a_file_that_is_no_video(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "x.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(VideoError, match=f"x.mp4.*{said}"):
        track_video(path, {"x": BOX})


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("plain.mp4", {}),
        ("gaps.mkv", {"times": [0, 1, 2, 5, 6, 9, 10, 11, 12, 20, 21, 22]}),
        ("turned.mp4", {"rotation": 90}),
        ("mpeg4.avi", {"codec": "mpeg4", "b_frames": 0}),
        ("raw.h264", {"b_frames": 0}),
    ],
)
def test_frames_and_times_are_pyavs_from_any_start(tmp_path: Path, name: str, options: dict) -> None:
    path = make_video(tmp_path / name, 12, group=4, **options)
    wanted, video = plain(path), open_video(path)
    assert (video.frames, video.height, video.width) == (12, *wanted.frames[0].shape[:2])
    for start in (0, 3, 5, 8, 11):
        frames = list(video.read(start, None))
        assert [frame.index for frame in frames] == list(range(start, 12))
        for frame in frames:
            assert np.array_equal(frame.image, wanted.frames[frame.index])
        if -1 not in wanted.pts:
            assert [frame.pts_s for frame in frames] == pytest.approx(wanted.seconds[start:])


def test_an_init_frame_that_is_not_decoded_is_named(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import model.track.one_video as tracking

    class Gap:
        """The video without its frame 3."""

        def __init__(self, opened):
            self.opened = opened

        def __getattr__(self, name):
            return getattr(self.opened, name)

        def read(self, first, end):
            return (frame for frame in self.opened.read(first, end) if frame.index != 3)

    monkeypatch.setattr(tracking, "open_video", lambda path: Gap(open_video(path)))
    for end in (4, 6):
        with pytest.raises(ValueError, match="object 'x': its init frame 3 could not be decoded"):
            list(track_video(video, {"x": BOX}, init_frames={"x": 3}, end_frame=end, device="cpu"))


def test_what_the_engine_raises_reaches_the_caller(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def step(*_: object) -> Future[None]:
        future: Future[None] = Future()
        future.set_exception(FloatingPointError("NaN"))
        return future

    monkeypatch.setattr(Engine, "step", step)
    with pytest.raises(FloatingPointError, match="NaN"):
        list(track_video(video, {"x": BOX}, end_frame=3, device="cpu"))
