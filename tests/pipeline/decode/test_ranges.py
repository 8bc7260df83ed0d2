"""Ranges in frames and seconds, strides, and entering a video in its middle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.decode import ClipRequest, DecodeSettings, Failed, Finished
from tests.pipeline.videos import Plain, make_video, plain, read_clip, read_clips

BOTH = pytest.mark.parametrize("decoder", ["decord", "pyav"])


@pytest.fixture(scope="module", params=["closed.mp4", "open.mkv", "open.ts", "long.mp4"])
def video(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Plain]:
    path = tmp_path_factory.mktemp("ranges") / request.param
    make_video(path, 80, group=200 if "long" in path.name else 12, open_gop="open" in path.name, b_frames=3)
    return path, plain(path)


@BOTH
def test_any_start_gives_the_frames_of_a_reading_from_the_beginning(video: tuple[Path, Plain], decoder: str) -> None:
    path, reference = video
    starts = [0, 1, 11, 12, 13, 24, 30, 47, 78, 79]
    requests = [ClipRequest("c", str(path), s, min(80, s + 15), decoder=decoder) for s in starts]  # type: ignore[arg-type]
    for request, read in zip(requests, read_clips(requests), strict=True):
        assert isinstance(read.end, Finished), read.end
        assert (read.opened[-1].start_frame, read.opened[-1].end_frame) == (request.start_frame, request.end_frame)
        assert list(read.frames) == list(range(request.start_frame or 0, request.end_frame or 80))
        for index, frame in read.frames.items():
            np.testing.assert_array_equal(frame, reference.frames[index], err_msg=f"{request} frame {index}")
            assert read.seconds[index] == reference.seconds[index]


@BOTH
@pytest.mark.parametrize("stride", [2, 7, 200])
def test_stride_counts_from_the_start(video: tuple[Path, Plain], decoder: str, stride: int) -> None:
    path, reference = video
    read = read_clip(
        path, DecodeSettings(in_process=True, chunk_bytes=100_000), decoder=decoder, start_frame=5, stride=stride
    )
    assert isinstance(read.end, Finished), read.end
    assert list(read.frames) == list(range(5, 80, stride))
    for index, frame in read.frames.items():
        np.testing.assert_array_equal(frame, reference.frames[index])


@BOTH
@pytest.mark.parametrize(
    ("start_s", "end_s", "first", "end"),
    [
        (0.0, 0.1, 0, 3),
        (0.1, 0.2, 3, 6),
        (0.09, 0.21, 3, 7),
        (None, 0.5, 0, 15),
        (2.0, None, 60, 80),
        (2.0, 99.0, 60, 80),
    ],
)
def test_seconds_are_half_open(
    tmp_path: Path, decoder: str, start_s: float | None, end_s: float | None, first: int, end: int
) -> None:
    path = make_video(tmp_path / "s.mp4", 80)
    read = read_clip(path, decoder=decoder, start_s=start_s, end_s=end_s)
    assert list(read.frames) == list(range(first, end))


def test_seconds_follow_the_timestamps_of_a_variable_rate(tmp_path: Path) -> None:
    path = make_video(tmp_path / "v.mp4", 20, times=[3 * n if n < 10 else 27 + 30 * (n - 9) for n in range(20)])
    read = read_clip(path, start_s=0.9, end_s=3.0)
    assert list(read.seconds.values()) == [0.9, 1.9, 2.9]
    assert list(read.frames) == [9, 10, 11]


@pytest.mark.parametrize("asked", [{"start_frame": 20}, {"start_s": 0.7}, {"start_frame": 5, "end_frame": 5}])
def test_a_range_without_frames_is_an_error(tmp_path: Path, asked: dict[str, float]) -> None:
    read = read_clip(make_video(tmp_path / "short.mp4", 20), **asked)
    assert isinstance(read.end, Failed)
    assert (read.end.stage, read.end.error_type) == ("open", "RangeOutsideVideo")
    assert "short.mp4" in read.end.message and "20 frames" in read.end.message


def test_an_end_beyond_the_video_is_its_end(tmp_path: Path) -> None:
    read = read_clip(make_video(tmp_path / "short.mp4", 20), start_frame=3, end_frame=500)
    assert isinstance(read.end, Finished)
    assert (read.opened[0].end_frame, len(read.frames)) == (20, 17)


def test_chunks_are_cut_by_bytes(tmp_path: Path) -> None:
    from pipeline.decode import Chunk
    from pipeline.decode.stream import stream

    path = make_video(tmp_path / "c.mp4", 30)
    size = 128 * 96 * 3
    for decoder in ("decord", "pyav"):
        request = ClipRequest("c", str(path), decoder=decoder)  # type: ignore[arg-type]
        settings = DecodeSettings(in_process=True, chunk_bytes=7 * size + 1)
        chunks = [event for event in stream([request], settings) if isinstance(event, Chunk)]
        assert [len(chunk.frames) for chunk in chunks] == [7, 7, 7, 7, 2]
        assert all(chunk.frames.dtype == np.uint8 and chunk.frames.shape[1:] == (96, 128, 3) for chunk in chunks)
