"""Devices that fail or fall silent under a whole job: no clip is charged, and one device that is left is enough."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from benchmarks.null_model import build_null_engine
from pipeline.actor.engine import EngineBuilder
from pipeline.driver.run import run
from pipeline.plan.options import ActorCount, SegmentOptions
from tests.chaos.engines import TRIALS, LostDevices
from tests.jobs.segment_runs import clip_rows, mask_rows, weights
from tests.pipeline.videos import make_video

__all__ = ["weights"]
pytestmark = [pytest.mark.usefixtures("ray_local"), pytest.mark.timeout(600)]
CLIPS, FRAMES = 10, 10


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("devices")
    video = make_video(folder / "v.mp4", FRAMES, width=64, height=48)
    clips = [
        {"clip_id": f"c{number}", "video_uri": str(video), "objects": [{"box": [5, number, 20, 20]}]}
        for number in range(CLIPS)
    ]
    (folder / "m.jsonl").write_text("".join(json.dumps(clip) + "\n" for clip in clips))
    return str(folder / "m.jsonl")


class Job:
    """The job over the manifest, into an output of its own each time."""

    def __init__(self, manifest: str, weights: str, folder: Path) -> None:
        self._manifest, self._weights, self._folder = manifest, weights, folder
        self.output = folder / "out"
        self.engines = folder / "engines"
        self.engines.mkdir()

    def run(self, build_engine: EngineBuilder, **options: Any) -> int:
        chosen = {"actors": ActorCount(2, 2), "clips_per_file": 2, "device_timeout": 2.0, **options}
        return run(
            SegmentOptions(self._manifest, str(self.output), weights=self._weights, report_clips=0, **chosen),
            build_engine=build_engine,
        )

    @property
    def report(self) -> dict[str, Any]:
        (path,) = self.output.glob("_runs/*/report.json")
        return json.loads(path.read_text())


@pytest.fixture
def job(manifest: str, weights: str, tmp_path: Path) -> Job:
    return Job(manifest, weights, tmp_path)


@pytest.fixture(scope="module")
def undisturbed(manifest: str, weights: str, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    job = Job(manifest, weights, tmp_path_factory.mktemp("undisturbed"))
    assert job.run(build_null_engine) == 0
    return mask_rows(job.output)


def test_two_actors_lose_their_devices_and_no_clip_is_lost(job: Job, undisturbed: list[dict[str, Any]]) -> None:
    """The first fails after 15 frames of 100, the second falls silent then."""
    assert job.run(LostDevices(str(job.engines), failing=range(1), silent=range(1, 2), frames=15)) == 0
    assert {row["status"] for row in clip_rows(job.output)} == {"ok"}
    assert mask_rows(job.output) == undisturbed
    (lost,) = job.report["run"]["lost_devices"]
    assert (lost["losses"], lost["given_up"], lost["gpu"]) == (2, False, "") and lost["node_id"]
    assert lost["message"].startswith("the CPU of node ") and lost["message"] in job.report["warnings"]
    (path,) = job.output.glob("_runs/*/config.json")
    assert json.loads(path.read_text())["steps"] == {"a card": [asdict(trial) for trial in TRIALS]}


def test_a_job_whose_only_device_is_lost_again_and_again_ends_without_failed_clips(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    assert job.run(LostDevices(str(job.engines), failing=range(99)), actors=ActorCount(1, 1)) == 1
    error = next(line for line in capsys.readouterr().err.splitlines() if line.startswith("error: "))
    assert error.startswith("error: no device is left: the CPU of node ") and "lost 3 times" in error
    assert not list(job.output.glob("clips/*.parquet"))
    (lost,) = job.report["run"]["lost_devices"]
    assert lost["given_up"] and job.report["exit_status"] == 1
