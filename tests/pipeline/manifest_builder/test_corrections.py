"""The loop: a run as CVAT XML, one box moved there, and the manifest with that box as a key frame of its clip alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from jobs.manifest import app
from pipeline.errors import UsageError
from pipeline.export.job import export_run
from pipeline.export.options import ExportOptions
from pipeline.manifest import read_manifest
from pipeline.manifest_builder.corrections import correct_manifest
from tests.pipeline.example_run import ExampleRun, write_example


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> ExampleRun:
    """A run with its manifest and its masks as CVAT has them."""
    example = write_example(tmp_path_factory.mktemp("example"))
    assert export_run(ExportOptions(example.output, str(example.folder / "cvat"), "cvat")) == 0
    lines = [
        {"clip_id": clip_id, "video_uri": f"videos/{clip_id}.mkv", "note": 7, "objects": objects, **more}
        for clip_id, objects, more in (
            ("alpha", [_start("a", None), _start("b", 10, "both")], {"start_frame": 4, "end_frame": 28}),
            ("crowd", [_start(name, None) for name in "xyz"], {}),
            ("odd", [_start("007", None)], {}),
        )
    ]
    (example.folder / "m.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return example


def _start(object_id: str, frame: int | None, direction: str = "forward") -> dict[str, Any]:
    start = {"object_id": object_id, "box": [1, 1, 9, 9], "direction": direction}
    return start if frame is None else {**start, "init_frame": frame}


def corrected(example: ExampleRun, tmp_path: Path, old: str, new: str) -> Path:
    """The exported files with one change in that of alpha."""
    for path in (example.folder / "cvat").iterdir():
        text = path.read_text()
        if path.stem == "alpha":
            assert old in text
            text = text.replace(old, new, 1)
        (tmp_path / path.name).write_text(text)
    return tmp_path


def test_a_moved_box_is_a_key_frame_of_its_object(example: ExampleRun, tmp_path: Path) -> None:
    truth = next(t.box for t in example.of("alpha") if (t.object_id, t.frame) == ("b", 15))
    old = f'<box frame="15" outside="0" occluded="0" keyframe="1" xtl="{truth[0]:.2f}"'
    labels = corrected(example, tmp_path, old, old.replace(f'xtl="{truth[0]:.2f}"', f'xtl="{truth[0] - 4:.2f}"'))
    target = example.folder / "m2.jsonl"
    arguments = [str(example.folder / "m.jsonl"), "--corrections", str(labels), "--run", example.output]
    done = CliRunner().invoke(app, [*arguments, "--output", str(target)])
    assert done.exit_code == 0, done.output
    assert "1 clips changed by 1 boxes and 0 ends" in done.stdout and "--replace-changed" in done.stdout
    before, after = (
        {clip.clip_id: clip for clip in read_manifest(str(uri), keep_columns=["note"], in_process=True).clips()}
        for uri in (example.folder / "m.jsonl", target)
    )
    assert [name for name in before if before[name].clip_hash == after[name].clip_hash] == ["crowd", "odd"]
    x, y, w, h = truth
    starts = [(start.object_id, start.init_frame, start.box) for start in after["alpha"].objects]
    assert starts[:2] == [("a", None, (1, 1, 9, 9)), ("b", 10, (1, 1, 9, 9))]
    assert starts[2:] == [("b", 15, pytest.approx((x - 4, y, w + 4, h)))]
    assert [start.direction for start in after["alpha"].objects] == ["forward", "both", "both"]
    assert after["alpha"].keep == {"note": 7}
    assert set(json.loads(target.read_text().splitlines()[1])) == {"clip_id", "video_uri", "note", "objects"}


def test_an_object_that_is_switched_off_ends(example: ExampleRun, tmp_path: Path) -> None:
    labels = corrected(example, tmp_path, '<box frame="20" outside="0"', '<box frame="20" outside="1"')
    done = correct_manifest(
        str(example.folder / "m.jsonl"), str(labels), example.output, str(example.folder / "m3.jsonl")
    )
    assert (done.clips, done.boxes, done.ends) == (["alpha"], 0, 1)
    (clip, *_) = read_manifest(str(example.folder / "m3.jsonl"), in_process=True).clips()
    assert [(start.object_id, start.end_frame) for start in clip.objects] == [("a", 20), ("b", None)]


def test_what_cannot_be_used_is_said(example: ExampleRun, tmp_path: Path) -> None:
    manifest, labels = str(example.folder / "m.jsonl"), str(example.folder / "cvat")
    with pytest.raises(UsageError, match="no box of it differs"):
        correct_manifest(manifest, labels, example.output, str(example.folder / "m4.jsonl"))
    moved = corrected(example, tmp_path, '<box frame="20" outside="0"', '<box frame="20" outside="1"')
    with pytest.raises(UsageError, match="named relative to the manifest"):
        correct_manifest(manifest, str(moved), example.output, str(tmp_path / "elsewhere" / "m.jsonl"))
    with pytest.raises(UsageError, match="--run"):
        correct_manifest(manifest, str(moved), str(tmp_path / "nothing"), str(example.folder / "m4.jsonl"))
    for arguments in (["v.mp4", "--output", "m.jsonl"], ["m.jsonl", "--corrections", "c", "--output", "m.jsonl"]):
        assert CliRunner().invoke(app, arguments).exit_code == 2
