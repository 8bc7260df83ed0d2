"""Videos that players accept: size, rate, times, index in front; never half a file."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from model.video.writer import VideoWriter


def frame(value: int, height: int = 48, width: int = 64) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def read(path: Path) -> tuple[list[float], list[np.ndarray], Fraction]:
    with av.open(str(path)) as video:
        stream = video.streams.video[0]
        frames = list(video.decode(stream))
        assert stream.average_rate is not None
        times = [float(item.time or 0) for item in frames]
        return times, [item.to_ndarray(format="rgb24") for item in frames], stream.average_rate


@pytest.mark.parametrize("fps", [24.0, 24000 / 1001, 25.0, 30000 / 1001, 59.94005994, 12.5])
def test_constant_rate(tmp_path: Path, fps: float) -> None:
    path = tmp_path / "new folder" / "a.mp4"
    with VideoWriter(path, fps) as video:
        for value in range(0, 200, 10):
            video.write(frame(value))
    times, frames, rate = read(path)
    assert float(rate) == pytest.approx(fps, rel=1e-6)
    assert times == pytest.approx([i / fps for i in range(20)], abs=2e-5)
    assert [int(item.mean()) for item in frames] == pytest.approx(list(range(0, 200, 10)), abs=3)
    assert frames[0].shape == (48, 64, 3)


def test_own_times_keep_gaps(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", 10) as video:
        for pts_s in (7.0, 7.1, 7.5, 7.52):
            video.write(frame(90), pts_s)
    assert read(tmp_path / "a.mp4")[0] == pytest.approx([0, 0.1, 0.5, 0.52], abs=2e-5)


def test_times_rounded_to_milliseconds_keep_the_rate(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", 30000 / 1001) as video:
        for i in range(20):
            video.write(frame(90), round(i * 1001 / 30000, 3))
    times, _, rate = read(tmp_path / "a.mp4")
    assert rate == Fraction(30000, 1001)
    assert times == pytest.approx([i * 1001 / 30000 for i in range(20)], abs=1e-9)


def test_odd_sizes_get_their_last_row_and_column_twice(tmp_path: Path) -> None:
    picture = frame(40, 49, 65)
    picture[-1], picture[:, -1] = 200, 200
    with VideoWriter(tmp_path / "a.mp4", 10, quality=5) as video:
        video.write(picture)
    (shown,) = read(tmp_path / "a.mp4")[1]
    assert shown.shape == (50, 66, 3)
    assert shown[-2:].mean() == pytest.approx(200, abs=4) and shown[:, -2:].mean() == pytest.approx(200, abs=4)
    assert shown[:-4, :-4].mean() == pytest.approx(40, abs=4)


def test_colours_come_back_and_are_marked(tmp_path: Path) -> None:
    picture = np.empty((96, 128, 3), np.uint8)
    picture[:, :64], picture[:, 64:] = (213, 94, 0), (0, 114, 178)
    with VideoWriter(tmp_path / "a.mp4", 10, quality=10) as video:
        video.write(picture)
    (shown,) = read(tmp_path / "a.mp4")[1]
    assert np.abs(shown[48, [20, 100]].astype(int) - picture[48, [20, 100]]).max() <= 3
    with av.open(str(tmp_path / "a.mp4")) as video:
        context = video.streams.video[0].codec_context
        assert (context.colorspace, context.color_primaries, context.color_trc, context.pix_fmt) == (1, 1, 1, "yuv420p")


def test_index_is_in_front(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", 10) as video:
        video.write(frame(90))
    data = (tmp_path / "a.mp4").read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")


def test_an_error_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), VideoWriter(tmp_path / "a.mp4", 10) as video:
        video.write(frame(90))
        raise RuntimeError
    with VideoWriter(tmp_path / "empty.mp4", 10):
        pass
    assert list(tmp_path.iterdir()) == []
