"""jobs/render.py on a Ray: videos of the clips chosen, failures named, exit statuses, local and S3."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import av
import pytest

from pipeline import storage
from pipeline.errors import UsageError
from pipeline.reading.options import ClipSelection
from pipeline.render.job import render_run
from pipeline.render.options import RenderOptions
from tests.conftest import ROOT, S3Store
from tests.pipeline.example_run import FPS, ExampleRun, write_example


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> ExampleRun:
    return write_example(tmp_path_factory.mktemp("example"))


def frames_of(path: Path) -> tuple[int, int, int, float]:
    with av.open(str(path)) as video:
        stream = video.streams.video[0]
        assert stream.average_rate is not None
        return stream.frames, stream.width, stream.height, float(stream.average_rate)


def test_all_clips_that_did_not_fail(
    ray_local: None, example: ExampleRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert render_run(RenderOptions(example.output, str(tmp_path))) == 0
    assert {path.name: frames_of(path) for path in tmp_path.iterdir()} == {
        "alpha.mp4": (24, 160, 96, FPS),
        "crowd.mp4": (8, 128, 96, FPS),
        "cut.mp4": (10, 128, 96, FPS),
        "odd.mp4": (20, 102, 76, FPS),
    }
    assert capsys.readouterr().out == f"4 clips: 4 drawn, 0 failed; 62 frames in {tmp_path}\n"


def test_clips_that_fail_are_named_and_the_others_go_on(
    ray_local: None, example: ExampleRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ClipSelection(clips=("lost", "odd"))
    assert render_run(RenderOptions(example.output, str(tmp_path), asked)) == 0
    said = capsys.readouterr()
    assert "failed: clip lost: it has no masks, since it failed (fetch: lost.mkv is not there)" in said.err
    assert said.out.startswith("2 clips: 1 drawn, 1 failed; 20 frames")
    assert [path.name for path in tmp_path.iterdir()] == ["odd.mp4"]
    assert render_run(RenderOptions(example.output, str(tmp_path), asked, strict=True)) == 3
    nowhere = RenderOptions(example.output, str(tmp_path / "x"), ClipSelection(clips=("odd",)), videos=str(tmp_path))
    assert render_run(nowhere) == 1, "nothing could be drawn"


def test_from_and_to_s3(ray_local: None, example: ExampleRun, s3_store: S3Store, tmp_path: Path) -> None:
    output = s3_store.uri("rendered")
    run = example.upload(s3_store.uri("render"))
    options = RenderOptions(run, output, ClipSelection(match="c*"), layout="side-by-side")
    assert render_run(options) == 0
    assert sorted(storage.name(entry.uri) for entry in storage.list_files(output)) == ["crowd.mp4", "cut.mp4"]
    storage.download(f"{output}/crowd.mp4", tmp_path / "crowd.mp4")
    assert frames_of(tmp_path / "crowd.mp4") == (8, 256, 96, FPS)


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (ClipSelection(clips=("nobody",)), "--clips nobody: .* has no clip of this id"),
        (ClipSelection(where="status = 'lost'"), "none of the 5 clips in .* is chosen"),
        (ClipSelection(where="no such column"), "--where no such column: Parser Error"),
        (ClipSelection(match="z*"), "none of the 5 clips"),
    ],
)
def test_a_selection_that_cannot_be_met(
    example: ExampleRun, tmp_path: Path, selection: ClipSelection, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        render_run(RenderOptions(example.output, str(tmp_path), selection))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--run"),
        (["--run", "{run}", "--output", "x", "--layout", "film"], "--layout film: expected one of overlay"),
        (["--run", "{run}", "--output", "x", "--opacity", "2"], "--opacity 2"),
        (["--run", "{run}", "--output", "x", "--limit", "0"], "--limit 0"),
        (["--run", "absent", "--output", "x"], "absent holds no run"),
        (["--run", "{run}", "--output", "ftp://host/x"], "--output: cannot use the URI ftp://host/x"),
    ],
)
def test_the_command_line_ends_with_2_and_names_the_fault(
    example: ExampleRun, tmp_path: Path, arguments: list[str], message: str
) -> None:
    given = [argument.format(run=example.output) for argument in arguments]
    command = [sys.executable, str(ROOT / "jobs" / "render.py"), *given]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
