"""Folders of pictures as videos: their order, their times, damaged ones, and none larger than the limit."""

from __future__ import annotations

import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from model.video import VideoError, index_video, open_video
from model.video.pictures import chosen_names, picture_size
from tests.pipeline.decode import barcode


def write(path: Path, number: int) -> Path:
    path.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(path), barcode.draw(number, 64, 48)[..., ::-1])
    return path


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.parametrize("form", ["folder", "pattern", "zip"])
def test_pictures_are_frames_in_the_order_of_their_numbers(tmp_path: Path, suffix: str, form: str) -> None:
    folder = tmp_path / "frames"
    for number in range(8, 13):
        write(folder / f"{number}.{suffix}", number)
    (folder / "notes.txt").write_text("no picture")
    source: Path = {"folder": folder, "pattern": folder / f"%d.{suffix}", "zip": tmp_path / "frames.video"}[form]
    if form == "zip":
        with zipfile.ZipFile(source, "w") as archive:
            for path in folder.iterdir():
                archive.write(path, path.name)
    video = open_video(source, rate=10)
    frames = list(video.read())
    assert [barcode.read(frame.image) for frame in frames] == [8, 9, 10, 11, 12]
    assert [(frame.index, frame.pts_s) for frame in frames] == [(i, i / 10) for i in range(5)]
    assert (video.width, video.height, video.fps, video.index.timing) == (64, 48, 10.0, "counted")
    assert [frame.index for frame in video.read(2, 4)] == [2, 3]


def test_a_damaged_picture_keeps_its_index(tmp_path: Path) -> None:
    for number in range(5):
        write(tmp_path / "f" / f"{number:05d}.png", number)
    (tmp_path / "f" / "00002.png").write_bytes(b"damaged")
    video = open_video(tmp_path / "f" / "%05d.png")
    assert video.frames == 5
    assert [(frame.index, barcode.read(frame.image)) for frame in video.read()] == [(i, i) for i in (0, 1, 3, 4)]


def test_pictures_of_another_size_end_the_video(tmp_path: Path) -> None:
    write(tmp_path / "f" / "0.png", 0)
    cv2.imwrite(str(tmp_path / "f" / "1.png"), np.zeros((10, 10, 3), np.uint8))
    with pytest.raises(VideoError, match="frame 1 is 10x10, those before are 64x48"):
        list(open_video(tmp_path / "f").read())


def test_what_is_wrong_with_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(VideoError, match="empty.*without pictures") as caught:
        open_video(tmp_path / "empty")
    assert caught.value.error_type == "NoFrames"
    write(tmp_path / "large" / "0.png", 0)
    with pytest.raises(VideoError, match="the limit is 100") as caught:
        index_video(tmp_path / "large", max_pixels=100)
    assert caught.value.error_type == "FrameTooLarge"
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "0.png").write_bytes(b"no picture")
    with pytest.raises(VideoError, match="none of its 1 pictures can be decoded"):
        open_video(tmp_path / "bad")


def test_a_pattern_takes_only_names_that_fit() -> None:
    names = ["00002.jpg", "00010.jpg", "2.jpg", "00001.png", "a00003.jpg", "123456.jpg"]
    assert chosen_names(names, "%05d.jpg") == ("00002.jpg", "00010.jpg", "123456.jpg")
    assert chosen_names(names, "a%05d.jpg") == ("a00003.jpg",)
    assert chosen_names(names, "%d.jpg") == ("00002.jpg", "2.jpg", "00010.jpg", "123456.jpg")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_the_size_is_read_from_the_header(suffix: str) -> None:
    done, data = cv2.imencode(suffix, np.zeros((37, 91, 3), np.uint8))
    assert done and picture_size(data.tobytes()) == (91, 37)
    assert picture_size(data.tobytes()[:8]) is None
