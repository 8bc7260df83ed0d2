"""`--video` and `--box` in place of a manifest: the same masks as `model.track_video`, resumable, clear errors."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from model import track_video
from model.track.start_box import StartBox
from model.video.writer import VideoWriter
from pipeline.demo.scenes import FPS, SCENES, draw
from pipeline.driver.run import run
from pipeline.errors import UsageError
from pipeline.plan.one_video import what_next
from pipeline.plan.options import SegmentOptions

BOXES = ("beetle=120,220,100,100", "ball=444,54,112,112@5")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first frames of a drawn clip with two objects."""
    path = tmp_path_factory.mktemp("video") / "meadow.mp4"
    (scene,) = [scene for scene in SCENES if scene.clip_id == "meadow-two"]
    with VideoWriter(path, FPS) as writer:
        for frame in islice(draw(scene), 14):
            writer.write(frame.rgb)
    return path


def test_masks_are_those_of_track_video_and_the_run_resumes(
    ray_local: None, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    options = {"output": str(output), "manifest": "", "device": "cpu", "precision": "fp32", "report": False}
    assert run(SegmentOptions(video=str(video), boxes=BOXES, **options)) == 0
    (clip,) = pq.read_table(output / "clips").to_pylist()
    assert (clip["status"], clip["objects"], clip["video_uri"]) == ("ok", 2, str(video))
    rows = {(row["object_id"], row["frame_index"]): row for row in pq.read_table(output / "masks").to_pylist()}

    starts = [StartBox("beetle", (120, 220, 100, 100)), StartBox("ball", (444, 54, 112, 112), 5)]
    count = 0
    for result in track_video(video, starts, device="cpu", precision="fp32"):
        for object_id, found in result.objects.items():
            row = rows[object_id, result.frame_index]
            assert row["mask"] == found.rle, (object_id, result.frame_index)
            assert list(row["bbox"].values()) == pytest.approx(found.bbox.tolist(), rel=1e-6)
            assert row["corners"] == pytest.approx(found.corners.tolist(), rel=1e-6)
            assert (row["score"], row["pts_s"]) == pytest.approx((found.score, result.pts_s))
            count += 1
    assert count == len(rows) == 14 + 9

    # The same video by another spelling of its path is the same clip.
    capsys.readouterr()
    monkeypatch.chdir(video.parent)
    assert run(SegmentOptions(video=f"./{video.name}", boxes=BOXES, **options)) == 0
    assert "1 finished before, 0 to do" in capsys.readouterr().err
    with pytest.raises(UsageError, match="clip_hash|another"):
        run(SegmentOptions(video=str(video), boxes=("beetle=1,2,30,40",), **options))
    assert what_next(str(video), str(output)) == (
        f"to draw it: python jobs/render.py --run {output} --clips {clip['clip_id']} --output {output}-videos"
    )
    folder = sorted(path for path in (output / "_runs").iterdir() if path.is_dir())[0]
    recorded = json.loads((folder / "config.json").read_text())["options"]
    assert (recorded["video"], recorded["boxes"]) == (str(video), list(BOXES))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--manifest is missing: name a manifest, or one video by --video and --box"),
        (["--video", "V"], "give the object to track as --box [ID=]x,y,w,h[@FRAME]"),
        (["--box", "1,2,3,4"], "--box 1,2,3,4: give its video by --video"),
        (["--manifest", "m.jsonl", "--video", "V", "--box", "1,2,3,4"], "leave out one of them"),
        (["--manifest", "m.jsonl", "--box", "1,2,3,4"], "--box 1,2,3,4: give its video by --video"),
        (["--video", "V", "--box", "1,2,3"], "--box '1,2,3': expected [ID=]x,y,w,h[@FRAME]"),
        (["--video", "V", "--box", "1,2,0,4"], "--box '1,2,0,4': expected a width and a height above 0"),
        (["--video", "V", "--box", "a=1,2,3,4", "--box", "a=9,2,3,4"], "--box: object 'a' has two boxes"),
        (["--video", "absent.mp4", "--box", "1,2,3,4"], "--video absent.mp4: no such file or object"),
        (["--video", "ftp://host/v.mp4", "--box", "1,2,3,4"], "--video: "),
    ],
)
def test_unusable_arguments_are_status_2(video: Path, tmp_path: Path, arguments: list[str], said: str) -> None:
    from jobs.segment import app

    arguments = [str(video) if argument == "V" else argument for argument in arguments]
    done = CliRunner().invoke(app, [*arguments, "--output", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert said in done.stderr, done.stderr
    assert not list(tmp_path.glob("out/*/*.parquet"))
