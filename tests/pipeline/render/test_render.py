"""Overlay videos: the source's frames, size, rate and times, with the table's masks on them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from model.video.overlay import OverlayStyle, colour_of
from model.video.writer import VideoWriter
from pipeline import open_run
from pipeline.reading import Run
from pipeline.reading.draw import RenderError
from pipeline.reading.options import Layout
from pipeline.render.video import render_clip, write_video
from tests.pipeline.example_run import FPS, ExampleRun, write_example
from tests.pipeline.videos import plain

ONLY_FILL = OverlayStyle(opacity=1.0, contour=False, box=False, label=False)
KERNEL = np.ones((7, 7), np.uint8)


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> ExampleRun:
    return write_example(tmp_path_factory.mktemp("example"))


@pytest.fixture(scope="module")
def run(example: ExampleRun) -> Run:
    return open_run(example.output)


def decode(path: Path) -> tuple[np.ndarray, list[float], float]:
    with av.open(str(path)) as video:
        stream = video.streams.video[0]
        frames = list(video.decode(stream))
        assert stream.average_rate is not None
        pictures = np.stack([frame.to_ndarray(format="rgb24") for frame in frames])
        return pictures, [float(frame.time or 0) for frame in frames], float(stream.average_rate)


def grown(mask: np.ndarray) -> np.ndarray:
    return cv2.dilate(mask.astype(np.uint8), KERNEL).astype(bool)


def shrunk(mask: np.ndarray) -> np.ndarray:
    return cv2.erode(mask.astype(np.uint8), KERNEL).astype(bool)


@pytest.mark.parametrize(
    ("clip_id", "layout", "frames", "size"),
    [
        ("alpha", "overlay", 24, (96, 160)),
        ("alpha", "side-by-side", 24, (96, 320)),
        ("alpha", "masks", 24, (96, 160)),
        ("odd", "overlay", 20, (76, 102)),  # 75 by 101, the last row and column twice
        ("odd", "side-by-side", 20, (76, 202)),
        ("cut", "masks", 10, (96, 128)),
    ],
)
def test_same_frames_size_rate_and_times(
    run: Run, tmp_path: Path, clip_id: str, layout: Layout, frames: int, size: tuple[int, int]
) -> None:
    rendered = write_video(run.clip(clip_id), tmp_path / "x.mp4", layout=layout)
    pictures, times, rate = decode(tmp_path / "x.mp4")
    assert pictures.shape == (frames, *size, 3)
    assert rendered.frames == frames and rendered.fps == pytest.approx(FPS)
    assert rate == pytest.approx(FPS, rel=1e-6)
    assert times == pytest.approx([i / FPS for i in range(frames)], abs=2e-5)


def test_pixels_are_the_tables_masks(run: Run, example: ExampleRun, tmp_path: Path) -> None:
    write_video(run.clip("alpha"), tmp_path / "alpha.mp4", style=ONLY_FILL)
    pictures, _, _ = decode(tmp_path / "alpha.mp4")
    source = plain(example.videos["alpha"]).frames
    for frame in range(4, 28):
        shown, original = pictures[frame - 4].astype(int), source[frame].astype(int)
        masks = {t.object_id: t.mask for t in example.of("alpha") if t.frame == frame}
        assert (frame == 12) == (not masks)
        near = np.zeros(shown.shape[:2], bool)
        for position, object_id in enumerate(("a", "b")):
            if object_id in masks:
                near |= grown(masks[object_id])
                inner = shrunk(masks[object_id])
                if object_id == "a" and "b" in masks:
                    inner &= ~grown(masks["b"])  # later ids lie over earlier ones
                error = np.abs(shown[inner] - np.array(colour_of(position))).mean()
                assert error < 12, f"object {object_id} is not filled in frame {frame}"
        assert np.abs(shown - original)[~near].mean() < 6, f"frame {frame} differs outside of its masks"


def test_masks_alone_are_on_black_and_lost_ones_are_outlined(run: Run, example: ExampleRun) -> None:
    for shown in run.clip("crowd").drawn(layout="masks"):
        want, edge = np.zeros((96, 128, 3), np.uint8), np.zeros((96, 128), bool)
        tracks = list(enumerate(t for t in example.of("crowd") if t.frame == shown.index))
        for position, track in sorted(tracks, key=lambda item: (item[1].presence, item[1].score, -item[0])):
            if track.is_lost:
                edge = grown(track.mask) & ~shrunk(track.mask)
            else:
                want[track.mask] = colour_of(position)
        same = (shown.picture == want).all(axis=2)
        assert same[~edge].all() and same.all() == (not edge.any())


def test_side_by_side_has_the_source_on_the_left(run: Run, example: ExampleRun) -> None:
    source = plain(example.videos["alpha"]).frames
    for shown in run.clip("alpha").drawn(start=10, end=13, layout="side-by-side"):
        left, right = shown.picture[:, :160], shown.picture[:, 160:]
        assert np.array_equal(left, source[shown.index])
        assert np.array_equal(left, right) == (shown.index == 12)


def test_between_two_strides_the_last_masks_are_outlined(run: Run, example: ExampleRun) -> None:
    source = plain(example.videos["odd"]).frames
    masks = {t.frame: t.mask for t in example.of("odd")}
    held = {shown.index: shown.picture for shown in run.clip("odd").drawn(layout="masks")}
    assert len(held) == 20
    for index, picture in held.items():
        mask = masks[index - index % 3]
        if index % 3 == 0:
            assert np.array_equal(picture.any(axis=2), mask)
        else:
            edge = picture.any(axis=2)
            assert edge.any() and not edge[shrunk(mask)].any() and not edge[~grown(mask)].any()
    for shown in run.clip("odd").drawn(between="blank"):
        assert np.array_equal(shown.picture, source[shown.index]) == (shown.index % 3 > 0)


def test_one_clip_by_its_video(example: ExampleRun, tmp_path: Path) -> None:
    moved = tmp_path / "moved.mkv"
    moved.write_bytes(example.videos["crowd"].read_bytes())
    rendered = render_clip(example.output, "crowd", str(moved), tmp_path / "x" / "crowd.mp4")
    assert decode(rendered.path)[0].shape == (8, 96, 128, 3)


def test_clips_that_cannot_be_shown(run: Run, example: ExampleRun, tmp_path: Path) -> None:
    target, alpha = tmp_path / "x.mp4", run.clip("alpha")
    with pytest.raises(RenderError, match=r"clip lost: .* it failed \(fetch: lost.mkv is not there\)"):
        write_video(run.clip("lost"), target)
    with pytest.raises(RenderError, match="no clip 'nobody'"):
        render_clip(example.output, "nobody", "x.mp4", target)
    with pytest.raises(RenderError, match="clip alpha: its video does not decode"):
        write_video(replace(alpha, video=str(tmp_path / "absent.mp4")), target)
    with VideoWriter(tmp_path / "other.mp4", FPS) as video:
        for _ in range(30):
            video.write(np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(RenderError, match=r"clip alpha, frame 4: .*another video"):
        write_video(replace(alpha, video=str(tmp_path / "other.mp4")), target)
    assert not target.exists()


def test_a_partial_clip_ends_where_its_video_does(run: Run, example: ExampleRun, tmp_path: Path) -> None:
    short = tmp_path / "short.mp4"
    noise = np.random.default_rng(0)
    with VideoWriter(short, FPS) as video:
        for _ in range(10):
            video.write(noise.integers(0, 256, (96, 128, 3), np.uint8))
    data = short.read_bytes()
    short.write_bytes(data[: len(data) * 3 // 5])
    clip = replace(run.clip("cut"), video=str(short))
    shown = [picture.index for picture in clip.drawn()]
    assert shown == list(range(len(shown))) and 0 < len(shown) < 10
    with pytest.raises(RenderError, match="does not decode"):
        list(replace(clip, row={**clip.row, "status": "ok"}).drawn())
