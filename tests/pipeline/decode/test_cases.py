"""Files that came out wrong once: both decoders, and as `track_video` reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.video import open_video
from pipeline.decode import DecodeSettings, Finished
from tests.pipeline.videos import Read, read_clip

pytestmark = pytest.mark.shared

CASES = {
    "base.mp4": (list(range(40)), "exact", 25.0, 1.56),
    "editlist_cut.mp4": (list(range(13, 40)), "exact", 25.0, 1.04),
    "h264_b.avi": (list(range(40)), "counted", 25.0, 1.56),
    "dup_one.mkv": (list(range(40)), "repaired", 50.0, 3.66),
    "cat_gap_back.ts": (list(range(120)), "repaired", 25.0, None),
    "intrarefresh_cut.ts": (list(range(38, 60)), "exact", 25.0, 0.84),
    "avif.avif": (list(range(20)), "exact", 25.0, 0.76),
}
"""The number in each frame in order, `clips.timing`, `clips.fps`, and the time of the last frame."""


def number(image: np.ndarray) -> int | None:
    """The number in the bar code at the top: a white block, twelve bits, black."""
    height, width = image.shape[:2]
    block, bar = width / 16, max(8, height // 8)
    grey = image.astype(int).mean(2)[bar // 4 : bar - bar // 4]
    white = [grey[:, int((i + 0.3) * block) : int((i + 0.7) * block)].mean() > 128 for i in range(16)]
    if not white[0] or any(white[14:]):
        return None
    return sum(int(bit) << (11 - place) for place, bit in enumerate(white[1:13]))


def read(folder: Path, name: str, decoder: str, **request: float) -> Read:
    clip = read_clip(folder / "cases" / "frames" / name, DecodeSettings(in_process=True), decoder=decoder, **request)
    assert isinstance(clip.end, Finished) and clip.end.corrupt_frames == 0, clip.end
    assert list(clip.frames) == list(range(clip.opened[-1].start_frame, clip.opened[-1].end_frame))
    return clip


@pytest.mark.parametrize("decoder", ["pyav", "decord"])
@pytest.mark.parametrize("name", CASES)
def test_the_frames_are_those_that_ffmpeg_shows(shared: Path, name: str, decoder: str) -> None:
    numbers, timing, fps, last = CASES[name]
    clip = read(shared, name, decoder)
    assert [number(frame) for frame in clip.frames.values()] == numbers
    info = clip.opened[-1].info
    assert (info.timing, info.fps, info.frames) == (timing, fps, len(numbers))
    seconds = list(clip.seconds.values())
    assert np.all(np.diff(seconds) > 0) and (last is None or seconds[-1] == pytest.approx(last))
    frames = list(open_video(shared / "cases" / "frames" / name).read())
    assert [frame.index for frame in frames] == list(range(len(numbers)))
    assert [frame.pts_s for frame in frames] == seconds
    for frame, given in zip(frames, clip.frames.values(), strict=True):
        np.testing.assert_array_equal(frame.image, given)


@pytest.mark.parametrize("decoder", ["pyav", "decord"])
def test_any_range_has_the_same_frames(shared: Path, decoder: str) -> None:
    for name, (numbers, *_) in CASES.items():
        clip = read(shared, name, decoder, start_frame=7, end_frame=12)
        assert [number(frame) for frame in clip.frames.values()] == numbers[7:12], name
    clip = read(shared, "dup_one.mkv", decoder, start_s=2.0, end_s=3.0)
    assert list(clip.frames) == list(range(20, 30))


@pytest.mark.parametrize("decoder", ["pyav", "decord"])
def test_a_mirrored_matrix_mirrors(shared: Path, decoder: str) -> None:
    clip, plain = read(shared, "flip_h.mp4", decoder), read(shared, "base.mp4", decoder)
    info = clip.opened[-1].info
    assert (info.rotation, info.mirrored, plain.opened[-1].info.mirrored) == (0, True, False)
    for index, frame in clip.frames.items():
        np.testing.assert_array_equal(frame, plain.frames[index][:, ::-1])


def test_raw_dv_runs_at_its_rate(shared: Path) -> None:
    info = read(shared, "one_frame.dv", "pyav").opened[-1].info
    assert (info.fps, info.frames) == (25.0, 1)
