"""Frames in descending order are the same frames, come first, and come again where a clip starts over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.video import frames as reading
from pipeline.decode import Chunk, ClipRequest, DecodeSettings, Finished, Opened
from pipeline.decode import clip as clip_module
from pipeline.decode.block import Block
from pipeline.decode.decord import DecordDecoder, DecordWrong
from pipeline.decode.stream import stream
from tests.pipeline.videos import make_video

CHUNK_FRAMES = 3
SETTINGS = DecodeSettings(in_process=True, chunk_bytes=CHUNK_FRAMES * 128 * 96 * 3)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("videos") / "v.mp4", 40)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "PIECE_BYTES", 0)


def _events(video: Path, **request: Any) -> list[Any]:
    return list(stream([ClipRequest("c", str(video), **request)], SETTINGS))


def _frames(chunks: list[Chunk]) -> list[tuple[int, float, np.ndarray]]:
    assert all(len(chunk.frames) == len(chunk.frame_index) <= CHUNK_FRAMES for chunk in chunks)
    return [
        frame
        for chunk in chunks
        for frame in zip(chunk.frame_index.tolist(), chunk.pts_s.tolist(), chunk.frames, strict=True)
    ]


@pytest.mark.parametrize(
    ("backward", "stride", "wanted"),
    [
        ((0, 21), 1, range(5, 21)),
        ((9, 21), 1, range(9, 21)),
        ((0, 99), 1, range(5, 38)),
        ((0, 1), 1, range(5, 6)),
        ((6, 21), 4, range(9, 21, 4)),
        ((9, 22), 4, range(9, 22, 4)),
    ],
)
@pytest.mark.parametrize("decoder", ["decord", "pyav"])
def test_frames_of_the_clip_come_first_in_descending_order(
    video: Path, decoder: str, backward: tuple[int, int], stride: int, wanted: range
) -> None:
    opened, *chunks, finished = _events(
        video, start_frame=5, end_frame=38, backward=backward, stride=stride, decoder=decoder
    )
    assert isinstance(opened, Opened) and isinstance(finished, Finished)
    assert [chunk.backward for chunk in chunks] == sorted((chunk.backward for chunk in chunks), reverse=True)
    descending = _frames([chunk for chunk in chunks if chunk.backward])
    ascending = {index: (pts, frame) for index, pts, frame in _frames([c for c in chunks if not c.backward])}
    assert list(ascending) == list(range(5, 38, stride)) and finished.frames == len(ascending)
    assert [index for index, *_ in descending] == list(reversed(wanted))
    for index, pts, frame in descending:
        assert pts == ascending[index][0] and np.array_equal(frame, ascending[index][1])


def test_they_come_again_where_the_clip_starts_over(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(self: DecordDecoder, start: int, end: int) -> Iterator[Block]:
        yield Block(np.zeros((1, 96, 128, 3), np.uint8), np.array([start]), 0)
        raise DecordWrong("its frame is not PyAV's")

    monkeypatch.setattr(clip_module, "suits", lambda *_: True)
    monkeypatch.setattr(DecordDecoder, "chunks", wrong)
    events = _events(video, backward=(0, 8), decoder="decord")
    places = [place for place, event in enumerate(events) if isinstance(event, Opened)]
    assert len(places) == 2
    for place in places:
        (*_, first), (*_, second) = ([*chunk.frame_index] for chunk in events[place + 1 : place + 3])
        assert events[place + 1].backward and (first, second) == (5, 2)


def test_a_file_that_ends_early_has_the_frames_before(video: Path, tmp_path: Path) -> None:
    path = make_video(tmp_path / "cut.ts", 40)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    *chunks, _ = _events(path, backward=(0, 99), decoder="pyav")
    backward = [index for index, *_ in _frames([c for c in chunks[1:] if c.backward])]
    assert backward == [index for index, *_ in _frames([c for c in chunks[1:] if not c.backward])][::-1]
    assert 10 < len(backward) < 40
