"""A stride or a range changes which frames are decoded, never what is in them."""

from __future__ import annotations

import re
import time
from pathlib import Path

import numpy as np
import pytest

from pipeline.decode import Failed
from tests.pipeline.decode.made_files import ENCODINGS, encode
from tests.pipeline.videos import make_video, read_clip

NAMES = {
    "mp4": "h264-b2 h264-refs h264-one-group h264-vfr hevc-b mpeg4-b",
    "mkv": "h264-b3-open h264-interlaced hevc-open mpeg1-b",
    "ts": "h264-intra-refresh mpeg2-interlaced",
    "mov": "mjpeg",
    "mpg": "mpeg2-b",
    "webm": "vp8-hidden vp9-hidden",
    "avi": "h264-b2",
}


@pytest.mark.parametrize(("name", "suffix"), [(name, suffix) for suffix in NAMES for name in NAMES[suffix].split()])
def test_every_nth_frame_is_that_of_the_whole_video(tmp_path: Path, name: str, suffix: str) -> None:
    path = encode(ENCODINGS[name], tmp_path / f"{name}.{suffix}")
    whole = read_clip(path, decoder="pyav")
    assert len(whole.frames) > 10
    for start, end, stride in [(0, None, 3), (0, None, 10), (5, None, 7), (7, 13, 1), (2, 20, 9)]:
        read = read_clip(path, start_frame=start, end_frame=end, stride=stride, decoder="pyav")
        wanted = [index for index in range(start, end or len(whole.frames), stride) if index in whole.frames]
        assert list(read.frames) == wanted
        for index in wanted:
            np.testing.assert_array_equal(read.frames[index], whole.frames[index])
            assert read.seconds[index] == whole.seconds[index]


@pytest.mark.shared
@pytest.mark.parametrize("name", ["decord_corrupted.mp4", "am_invalid_nalu.mp4"])
def test_every_nth_frame_of_a_damaged_video_is_that_of_the_whole(shared: Path, name: str) -> None:
    path = shared / "data" / "videos" / name
    whole = read_clip(path, decoder="pyav")
    for start, stride in [(0, 2), (0, 3), (3, 7), (5, 1), (28, 1)]:
        read = read_clip(path, start_frame=start, stride=stride, decoder="pyav")
        assert list(read.frames) == [i for i in whole.frames if i >= start and (i - start) % stride == 0]
        for index, frame in read.frames.items():
            np.testing.assert_array_equal(frame, whole.frames[index])


def test_a_damaged_frame_counts_where_it_was_wanted(tmp_path: Path) -> None:
    """Of a video in which every frame stands alone, frames 4 and 9 are damaged."""
    path = make_video(tmp_path / "v.mov", 24, codec="png", pix_fmt="rgb24")
    data = bytearray(path.read_bytes())
    starts = [match.start() for match in re.finditer(rb"\x89PNG", data)]
    assert len(starts) == 24
    for frame in (4, 9):
        data[starts[frame] : starts[frame] + 60] = bytes(60)
    path.write_bytes(data)
    for stride, damaged in {1: [4, 9], 3: [9], 4: [4], 5: []}.items():
        read = read_clip(path, stride=stride, decoder="pyav", max_corrupt=1.0)
        assert list(read.frames) == [index for index in range(0, len(starts), stride) if index not in damaged]
        assert read.end.corrupt_frames == len(damaged)
    failed = read_clip(path, stride=4, decoder="pyav", max_corrupt=0.1)
    assert isinstance(failed.end, Failed) and "1 of the 6 frames" in failed.end.message


def test_what_is_not_wanted_costs_little(tmp_path: Path) -> None:
    path = make_video(tmp_path / "v.mp4", 100, width=960, height=540, group=25, b_frames=3)
    cost = {1: 1e9, 10: 1e9, 50: 1e9}
    for _ in range(3):
        for stride in cost:
            before = time.process_time()
            read_clip(path, stride=stride, decoder="pyav")
            cost[stride] = min(cost[stride], time.process_time() - before)
    assert cost[10] < 0.6 * cost[1]
    assert cost[50] < 0.75 * cost[10], "two groups of pictures of four"
