"""Frames from the last to the first are the same frames, in pieces that are not large."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.video import VideoError, frames, open_video
from model.video.frames import PIECE_FRAMES, pieces_backward
from model.video.reader import Video
from tests.pipeline.videos import make_video


@given(
    st.integers(0, 60),
    st.integers(0, 60),
    st.integers(1, 7),
    st.lists(st.integers(0, 100), unique=True, max_size=20).map(sorted),
)
def test_pieces_are_the_range_and_none_is_large(first: int, length: int, stride: int, keys: list[int]) -> None:
    index: Any = SimpleNamespace(width=frames.PIECE_BYTES, height=1, timeline=SimpleNamespace(keys=np.array(keys, int)))
    wanted = range(first, first + length, stride)
    pieces = list(pieces_backward(index, wanted))
    assert [frame for piece in pieces for frame in reversed(piece)] == list(reversed(wanted))
    assert all(0 < len(piece) <= PIECE_FRAMES for piece in pieces)


@pytest.mark.parametrize(("group", "starts"), [(6, [36, 30, 24, 18, 12, 6, 0]), (15, [32, 30, 22, 15, 7, 0])])
def test_pieces_begin_at_key_frames(group: int, starts: list[int]) -> None:
    keys = np.arange(0, 40, group)
    index: Any = SimpleNamespace(width=frames.PIECE_BYTES, height=1, timeline=SimpleNamespace(keys=keys))
    assert [piece.start for piece in pieces_backward(index, range(40))] == starts


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("closed.mp4", {}),
        ("open.mp4", {"open_gop": True}),
        ("long.mp4", {"group": 250}),
        ("turned.mp4", {"rotation": 90}),
        ("mpeg4.avi", {"codec": "mpeg4", "b_frames": 0}),
        ("raw.h264", {"b_frames": 0}),
    ],
)
def test_frames_are_those_that_are_read_forward(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, options: dict
) -> None:
    monkeypatch.setattr(frames, "PIECE_BYTES", 0)
    video = open_video(make_video(tmp_path / name, 40, width=64, height=48, **options))
    forward, backward = list(video.read(3, 37)), list(video.read_backward(3, 37))
    assert [frame.index for frame in backward] == list(range(36, 2, -1))
    for frame, other in zip(reversed(forward), backward, strict=True):
        assert frame.pts_s == other.pts_s and np.array_equal(frame.image, other.image)


def test_frames_that_cannot_be_had_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "PIECE_BYTES", 0)
    video = open_video(make_video(tmp_path / "v.mp4", 20, width=64, height=48))
    read = Video._read

    def until_ten(*args: Any) -> Any:
        for frame in read(*args):
            if frame.index >= 10:
                raise VideoError("decode", "SizeChanged", "frame 10 is larger", keep_rows=True)
            yield frame

    monkeypatch.setattr(Video, "_read", staticmethod(until_ten))
    assert [frame.index for frame in video.read_backward(0, 20)] == list(range(9, -1, -1))
