"""The loop by its commands: labels, manifest, run, CVAT XML, a box that is moved there, and its clip alone anew."""

from __future__ import annotations

import copy
import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import jobs.export
import jobs.manifest
from benchmarks.null_model import build_null_engine
from pipeline import open_run
from pipeline.driver.run import run
from pipeline.errors import UsageError
from pipeline.plan.options import SegmentOptions
from tests.jobs.segment_runs import weights
from tests.pipeline.output.output_parts import check_promise
from tests.pipeline.videos import make_video

__all__ = ["weights"]

FRAMES, START, MOVED = 10, 2, 6
BOX = {"xtl": 10.0, "ytl": 8.0, "xbr": 30.0, "ybr": 24.0}
NAMES = ("bay", "harbour", "quay")


def _labels(name: str) -> str:
    """What CVAT exports of a task with one boat, drawn on its first frame."""
    sides = " ".join(f'{side}="{value:.2f}"' for side, value in BOX.items())
    return f"""<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta><task><name>{name}</name><size>{FRAMES}</size><mode>interpolation</mode><labels><label><name>boat</name></label>
    </labels></task><source>{name}.mp4</source></meta>
  <track id="0" label="boat"><box frame="{START}" outside="0" occluded="0" keyframe="1" {sides}/></track>
</annotations>
"""


def _command(app: Any, *arguments: str | Path) -> str:
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code == 0, done.output
    return done.stdout


def _move_right(path: Path, frame: int, by: float) -> None:
    """What a person does who drags the box of a frame: CVAT makes a key frame of it."""
    tree = ET.parse(path)
    (track,) = tree.getroot().iter("track")
    boxes = track.findall("box")
    place = max(number for number, box in enumerate(boxes) if int(box.attrib["frame"]) <= frame)
    moved = copy.deepcopy(boxes[place])
    if moved.attrib["frame"] == str(frame):
        track.remove(boxes[place])
    moved.attrib |= {side: f"{float(moved.attrib[side]) + by:.2f}" for side in ("xtl", "xbr")}
    moved.attrib |= {"frame": str(frame), "keyframe": "1"}
    track.insert(list(track).index(boxes[place + 1]) if place + 1 < len(boxes) else len(track), moved)
    tree.write(path)


def _rows(output: Path) -> dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]]:
    """The rows of `clips` and of `masks`, by clip."""
    opened = open_run(str(output))
    masks = opened.masks().arrow().sort_by([("object_id", "ascending"), ("frame_index", "ascending")]).to_pylist()
    return {
        clip["clip_id"]: ([clip], [row for row in masks if row["clip_id"] == clip["clip_id"]])
        for clip in opened.clips().arrow().to_pylist()
    }


def test_a_box_that_is_moved_is_tracked_again_and_nothing_else(
    ray_local: None, weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "labels").mkdir()
    for name in NAMES:
        make_video(tmp_path / "videos" / f"{name}.mp4", FRAMES, width=64, height=48)
        (tmp_path / "labels" / f"{name}.xml").write_text(_labels(name))
    first, second, third = (tmp_path / f"m{number}.jsonl" for number in (1, 2, 3))
    output, exported = tmp_path / "out", tmp_path / "cvat"

    def segment(manifest: Path, **options: Any) -> int:
        asked = SegmentOptions(str(manifest), str(output), weights=weights, report_clips=0, **options)
        return run(asked, build_engine=build_null_engine)

    _command(jobs.manifest.app, tmp_path / "videos", "--boxes", tmp_path / "labels", "--output", first)
    assert segment(first) == 0
    before = _rows(output)
    assert {name: len(masks) for name, (_, masks) in before.items()} == dict.fromkeys(NAMES, FRAMES - START)

    _command(jobs.export.app, "--run", output, "--output", exported, "--format", "cvat")
    _move_right(exported / "harbour.xml", MOVED, 7.0)
    corrections = ("--corrections", exported, "--run", output)
    assert "1 clips changed by 1 boxes" in _command(jobs.manifest.app, first, *corrections, "--output", second)
    with pytest.raises(UsageError, match="--replace-changed"):
        segment(second)
    assert _rows(output) == before
    assert segment(second, replace_changed=True) == 0
    assert "1 replaced" in capsys.readouterr().out
    after = _rows(output)
    assert {name for name in NAMES if after[name] != before[name]} == {"harbour"}
    (clip,), masks = after["harbour"]
    assert clip["run_id"] != before["harbour"][0][0]["run_id"] and clip["objects"] == 1
    assert [(row["frame_index"], row["bbox"]["x"]) for row in masks] == [
        (frame, BOX["xtl"] + (7 if frame >= MOVED else 0)) for frame in range(START, FRAMES)
    ]
    assert check_promise(str(output)) == dict.fromkeys(NAMES, "ok")

    # Another direction is a change too.
    clips = [json.loads(line) for line in second.read_text().splitlines()]
    for clip in clips:
        if clip["clip_id"] == "quay":
            clip["objects"][0]["direction"] = "both"
    third.write_text("".join(json.dumps(clip) + "\n" for clip in clips))
    assert segment(third, replace_changed=True) == 0
    last = _rows(output)
    assert {name for name in NAMES if last[name] != after[name]} == {"quay"}
    assert [row["frame_index"] for row in last["quay"][1]] == list(range(FRAMES))
    assert check_promise(str(output)) == dict.fromkeys(NAMES, "ok")
