"""jobs/compact.py: between two runs into one output, held by another, ended half-way."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from model.network import SiamMask, SiamMaskConfig
from model.weights import save_weights
from pipeline.driver.run import run
from pipeline.job import INTERRUPTED
from pipeline.output import compact, lease
from pipeline.output.compact import CompactOptions
from pipeline.output.merge import note_uri
from pipeline.plan.options import SegmentOptions
from tests.conftest import ROOT
from tests.pipeline.output.output_parts import check_promise, feed, names, writer
from tests.pipeline.videos import make_video

BOX = {"box": [10, 10, 30, 20]}


def _compact(output: str, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "jobs" / "compact.py"), "--output", output, *more]
    return subprocess.run(command, capture_output=True, text=True, timeout=200)


@pytest.mark.slow
def test_a_run_goes_on_after_a_compaction(ray_local: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(3)
    weights = tmp_path / "random.safetensors"
    save_weights(weights, SiamMask(SiamMaskConfig("resnet18")), metadata={"name": "r", "tracker": {"preset": "vot"}})
    video = make_video(tmp_path / "v.mp4", 6)
    clips = [{"clip_id": f"c{i}", "video_uri": "v.mp4", "objects": [BOX]} for i in range(3)]
    clips += [{"clip_id": f"absent{i}", "video_uri": f"absent{i}.mp4", "objects": [BOX]} for i in range(2)]
    manifest, output = tmp_path / "m.jsonl", str(tmp_path / "out")

    def again(**more: Any) -> str:
        manifest.write_text("".join(json.dumps(clip) + "\n" for clip in clips))
        options = SegmentOptions(str(manifest), output, weights=str(weights), clips_per_file=1, max_failed=1.0, **more)
        assert run(options) == 0
        return capsys.readouterr().err

    again()
    masks = pq.read_table(f"{output}/masks").sort_by([("clip_id", "ascending"), ("frame_index", "ascending")])
    assert len(names(output, "clips")) == 5
    done = _compact(output)
    assert (done.returncode, done.stderr) == (0, "")
    assert "5 clips parts and 3 masks parts" in done.stdout
    assert (len(names(output, "clips")), len(names(output, "masks"))) == (2, 1)
    merged = pq.read_table(f"{output}/masks").sort_by([("clip_id", "ascending"), ("frame_index", "ascending")])
    assert merged.equals(masks)

    parts = names(output, "clips")
    assert "5 finished before, 0 to do" in again()
    assert names(output, "clips") == parts
    clips.insert(0, {"clip_id": "new", "video_uri": "v.mp4", "objects": [BOX]})
    assert "5 finished before, 1 to do" in again()
    for i in range(2):
        shutil.copy(video, tmp_path / f"absent{i}.mp4")
    assert "4 finished before, 2 to do" in again(retry_failed=True)
    assert set(check_promise(output).values()) == {"ok"} and len(check_promise(output)) == 6


@pytest.fixture
def output(tmp_path: Path) -> str:
    """An output with small parts to merge."""
    uri = str(tmp_path / "out")
    with lease.acquire(uri, "run-1", 0):
        for shard in range(3):
            with writer(uri, tmp_path, f"s{shard}") as one:
                feed(one, f"c{shard}")
                one.commit()
    return uri


def test_the_command_line(output: str, tmp_path: Path) -> None:
    done = _compact(output, "--dry-run")
    assert done.returncode == 0 and "3 clips parts and 3 masks parts" in done.stdout
    assert len(names(output, "clips")) == 3
    done = _compact(str(tmp_path / "absent"))
    assert done.returncode == 2 and f"--output {tmp_path}/absent" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "absent").exists()
    done = _compact(output, "--target-bytes", "0")
    assert done.returncode == 2 and "--target-bytes 0" in done.stderr


def test_an_output_that_a_run_holds_is_left_alone(output: str) -> None:
    before = names(output, "clips") + names(output, "masks")
    with lease.acquire(output, "run-7", 0):
        done = _compact(output, "--wait-for-lease", "0")
    assert done.returncode == 2 and "run-7" in done.stderr
    assert names(output, "clips") + names(output, "masks") == before


@pytest.mark.parametrize("step", ["upload_merged_masks", "note", "finish_merge"])
def test_interrupted_it_leaves_the_tables_right(output: str, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """The signal comes right after a step; the plain glob is right when it has ended, and the lease is given back."""
    real = getattr(compact, step)

    def interrupted(*args: Any) -> Any:
        answer = real(*args)
        os.kill(os.getpid(), signal.SIGTERM)
        return answer

    monkeypatch.setattr(compact, step, interrupted)
    assert compact.compact(CompactOptions(output)) == INTERRUPTED
    assert check_promise(output) == {"c0": "ok", "c1": "ok", "c2": "ok"}
    assert len(names(output, "clips")) == (3 if step == "upload_merged_masks" else 1)
    assert not Path(note_uri(output)).exists()
    with lease.acquire(output, "run-2", 0):
        pass
