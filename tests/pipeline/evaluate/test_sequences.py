"""VOT's sequences: pictures in the order in which they are numbered, and videos as the service sees them."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.stream import Disposition

from model.video import open_video
from pipeline.errors import UsageError
from pipeline.evaluate.sequences import find_sequences
from tests.pipeline.videos import make_video

LINE = "1,1,9,1,9,9,1,9\n"


@pytest.mark.parametrize("name", ["{}.png", "{:08d}.png", "frame{}.png", "2024-{}.png"])
def test_pictures_come_in_the_order_of_their_numbers(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "bag"
    folder.mkdir()
    for number in range(1, 13):
        cv2.imwrite(str(folder / name.format(number)), np.full((8, 8, 3), number, np.uint8))
    (folder / "groundtruth.txt").write_text(LINE * 12)
    (sequence,) = find_sequences(tmp_path)
    assert [int(frame[0, 0, 0]) for frame in sequence.frames()] == list(range(1, 13))


def test_pictures_and_truth_of_different_numbers_are_named_before_anything_is_tracked(tmp_path: Path) -> None:
    for name, lines in (("bag", 3), ("dog", 4)):
        (tmp_path / name).mkdir()
        for number in range(3):
            cv2.imwrite(str(tmp_path / name / f"{number}.png"), np.zeros((8, 8, 3), np.uint8))
        (tmp_path / name / "groundtruth.txt").write_text(LINE * lines)
    with pytest.raises(UsageError, match="sequence dog: 3 pictures, but 4 lines of truth in .*groundtruth.txt"):
        find_sequences(tmp_path)
    assert [sequence.name for sequence in find_sequences(tmp_path, ("bag",))] == ["bag"]


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_frames_of_a_video_are_upright(tmp_path: Path, rotation: int) -> None:
    path = make_video(tmp_path / "film.mp4", 3, rotation=rotation)
    (tmp_path / "film.groundtruth.txt").write_text(LINE * 3)
    (sequence,) = find_sequences(tmp_path)
    frames = list(sequence.frames())
    assert frames[0].shape == ((128, 96, 3) if rotation % 180 else (96, 128, 3))
    for frame, upright in zip(frames, open_video(path).read(), strict=True):
        assert (frame == upright.image[..., ::-1]).all()


def test_of_several_video_streams_the_one_that_the_service_takes_is_read(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "film.mkv"), "w") as container:
        streams = [container.add_stream("mpeg4", rate=10) for _ in range(2)]
        for stream, (width, height) in zip(streams, ((64, 48), (128, 96)), strict=True):
            stream.width, stream.height = width, height
            stream.disposition = Disposition.default if width == 128 else Disposition(0)
        for stream in streams:
            pixels = np.full((stream.height, stream.width, 3), 90, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(stream.encode())
    (tmp_path / "film.groundtruth.txt").write_text(LINE)
    (sequence,) = find_sequences(tmp_path)
    assert [frame.shape for frame in sequence.frames()] == [(96, 128, 3)]


def test_a_file_without_a_video_stream_is_named(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "film.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        stream.layout = "mono"
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
    (tmp_path / "film.groundtruth.txt").write_text(LINE)
    (sequence,) = find_sequences(tmp_path)
    with pytest.raises(UsageError, match="film.wav: the video cannot be decoded: .* is not a video"):
        list(sequence.frames())
