"""`python -m model.track`: an overlay video and a picture, or one sentence and exit status 2."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from model.video.contact_sheet import contact_sheet, spread
from model.video.ruler import with_rulers
from tests.conftest import ROOT
from tests.pipeline.videos import make_video


def track(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "model.track", *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=120, env={"PYTHONPATH": str(ROOT), "PATH": ""}
    )


def test_overlay_and_picture(tmp_path: Path) -> None:
    make_video(tmp_path / "my.mp4", 8)
    done = track("my.mp4", "--box", "square=0,0,16,16", "--box", "40,40,20,20@2", "--device", "cpu", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "8/8" in done.stdout
    assert done.stdout.splitlines()[-2:] == ["overlay  my-overlay.mp4", "picture  my-overlay.png"]
    with av.open(str(tmp_path / "my-overlay.mp4")) as container, av.open(str(tmp_path / "my.mp4")) as source:
        drawn = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        given = [frame.to_ndarray(format="rgb24") for frame in source.decode(video=0)]
        assert container.streams.video[0].average_rate == source.streams.video[0].average_rate
    assert len(drawn) == len(given) and drawn[0].shape == given[0].shape
    assert np.abs(drawn[0].astype(int) - given[0]).max() > 80
    sheet = cv2.imread(str(tmp_path / "my-overlay.png"))
    assert sheet.shape == (3 * (96 + 8) + 8, 3 * (128 + 8) + 8, 3)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["absent.mp4", "--box", "1,2,3,4"], "absent.mp4: no such file"),
        (["my.mp4", "--box", "1,2,3"], "box '1,2,3': expected"),
        (["my.mp4", "--box", "900,2,3,4"], "lies outside the 128x96 frame"),
        (["my.mp4", "--box", "1,2,3,4@99"], "its init frame 99 is not among frames 0 to 2"),
        (["my.mp4", "--box", "1,2,3,4", "--out", "my.mp4"], "is the video itself"),
        (["my.mp4", "--box", "1,2,3,4", "--out", "my.avi"], "ends in .mp4"),
        (["my.mp4", "--box", "1,2,3,4", "--weights", "my.mp4"], "my.mp4"),
    ],
)
def test_unusable_arguments(
    tmp_path: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from typer.testing import CliRunner

    from model.track.__main__ import app

    monkeypatch.chdir(tmp_path)
    make_video(tmp_path / "my.mp4", 3)
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2
    assert said in done.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["my.mp4"]


def test_the_sheet_spreads_over_the_range_and_fits() -> None:
    assert spread(range(100), 5) == [0, 25, 50, 74, 99]
    assert spread(range(10, 13), 9) == [10, 11, 12]
    assert spread(range(4, 5), 9) == [4]
    pictures = [np.full((90, 160, 3), shade, np.uint8) for shade in (10, 20, 30, 40)]
    sheet = contact_sheet(pictures, list("abcd"), columns=3, width=80)
    assert sheet.shape == (2 * (45 + 8) + 8, 3 * (80 + 8) + 8, 3)
    assert sheet[20, 50].tolist() == [10, 10, 10] and sheet[20, 150].tolist() == [20, 20, 20]
    assert sheet[70, 50].tolist() == [40, 40, 40]
    assert sheet[70, 200].tolist() == [255, 255, 255]


def test_without_a_box_it_draws_rulers_to_read_one_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from model.track.__main__ import app

    monkeypatch.chdir(tmp_path)
    make_video(tmp_path / "my.mp4", 5, width=320, height=240)
    done = CliRunner().invoke(app, ["my.mp4", "--start", "3"])
    assert done.exit_code == 0
    assert "picture  my-frame3.png" in done.stdout and "python -m model.track my.mp4 --box x,y,w,h@3" in done.stdout
    sheet = cv2.imread(str(tmp_path / "my-frame3.png"))
    assert sheet.shape == (240 + 44, 320 + 44, 3)
    done = CliRunner().invoke(app, ["my.mp4", "--start", "5"])
    assert done.exit_code == 2 and "has no frame 5" in done.output


def test_rulers_have_a_line_where_they_say() -> None:
    picture = np.zeros((100, 230, 3), np.uint8)
    drawn = with_rulers(picture)[44:, 44:]
    assert np.flatnonzero(drawn[7, :, 0]).tolist() == list(range(0, 230, 20))
    assert np.flatnonzero(drawn[:, 7, 0]).tolist() == list(range(0, 100, 20))
