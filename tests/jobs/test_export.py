"""jobs/export.py on the command line: files, the end line, exit statuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.pipeline.example_run import ExampleRun, write_example


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> ExampleRun:
    return write_example(tmp_path_factory.mktemp("example"))


def export(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "jobs" / "export.py"), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


def test_chosen_clips_become_files(example: ExampleRun, tmp_path: Path) -> None:
    chosen = ["--where", "frames > 7", "--match", "[ac]*", "--category", "boat"]
    done = export(tmp_path, "--run", example.output, "--output", "x", "--format", "coco", *chosen)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"2 clips: 2 exported, 0 failed, 0 without masks; 32 frames in {tmp_path / 'x'}\n"
    written = json.loads((tmp_path / "x" / "annotations.json").read_text())
    assert {image["clip_id"] for image in written["images"]} == {"alpha", "crowd"}
    assert [category["name"] for category in written["categories"]] == ["boat", "gull", "person"]
    again = export(tmp_path, "--run", example.output, "--output", "x", "--format", "davis")
    assert again.returncode == 2 and "holds files already" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output", "x", "--format", "coco"], "--run"),
        (["--run", "{run}", "--output", "x", "--format", "tiff"], "--format tiff: expected one of coco"),
        (["--run", "{run}", "--output", "x", "--format", "vot", "--region", "dot"], "--region dot"),
        (["--run", "absent", "--output", "x", "--format", "coco"], "absent holds no run"),
        (["--run", "{run}", "--output", "x", "--format", "coco", "--clips", "nobody"], "--clips nobody"),
        (["--run", "{run}", "--output", "ftp://x/y", "--format", "coco"], "--output: cannot use the URI ftp://x/y"),
    ],
)
def test_the_command_line_ends_with_2_and_names_the_fault(
    example: ExampleRun, tmp_path: Path, arguments: list[str], message: str
) -> None:
    done = export(tmp_path, *(argument.format(run=example.output) for argument in arguments))
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
