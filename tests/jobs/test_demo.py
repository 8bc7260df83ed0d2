"""`make demo`: what it prints is there, and the bundled model follows the drawn objects."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import av
import pytest

from pipeline.demo.scenes import SCENES

ROOT = Path(__file__).resolve().parents[2]


def run_demo(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "jobs" / "demo.py"), "--folder", str(folder)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=580, stdin=subprocess.DEVNULL)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_demo_from_nothing(tmp_path: Path) -> None:
    done = run_demo(tmp_path / "demo")
    assert done.returncode == 0, done.stdout + done.stderr
    for scene in SCENES:
        with av.open(str(tmp_path / "demo" / "overlay" / f"{scene.clip_id}.mp4")) as video:
            assert video.streams.video[0].frames == scene.frames
    report = re.search(r"^report +(\S+)$", done.stdout, re.MULTILINE)
    assert report and (Path(report[1]) / "report.html").is_file()
    assert done.stdout.count("SELECT") >= 3
    overlap = re.search(r"overlap of the masks with the drawn truth: ([\d.]+)", done.stdout)
    assert overlap and float(overlap[1]) > 0.6, done.stdout


def test_demo_leaves_other_folders_alone(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "precious").write_text("kept")
    done = run_demo(tmp_path)
    assert done.returncode == 1 and "something other than an earlier demo" in done.stderr
    assert (tmp_path / "run" / "precious").read_text() == "kept"
