"""Ctrl-C, SIGTERM and kill -9 on the real command: how fast the lease is free, and that the work can go on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

from pipeline import storage
from pipeline.output import lease
from tests.conftest import ROOT
from tests.pipeline.videos import make_video

CLIPS, FRAMES = 12, 30
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


class Job:
    """The command into one output, again and again, each with a Ray of its own."""

    def __init__(self, folder: Path) -> None:
        video = make_video(folder / "v.mp4", FRAMES, width=64, height=48)
        clips = [
            {"clip_id": f"c{number:02d}", "video_uri": str(video), "objects": [{"box": [5, 5, 20, 20]}]}
            for number in range(CLIPS)
        ]
        (folder / "m.jsonl").write_text("".join(json.dumps(clip) + "\n" for clip in clips))
        self.folder, self.output = folder, folder / "out"
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, frame_s: float, *more: str) -> subprocess.Popen[bytes]:
        """Start it as the leader of a process group, as a shell does."""
        command = [sys.executable, "-m", "tests.chaos.driver", "--manifest", str(self.folder / "m.jsonl")]
        command += ["--output", str(self.output), "--actors", "1", "--clips-per-file", "1", "--device", "cpu", *more]
        environment = {**os.environ, "RAY_ADDRESS": "local", "CHAOS_FRAME_S": str(frame_s)}
        with (self.folder / f"{len(self.started)}.log").open("wb") as log:
            self.started.append(
                subprocess.Popen(
                    command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
                )
            )
        return self.started[-1]

    def log(self) -> str:
        return (self.folder / f"{len(self.started) - 1}.log").read_text(errors="replace")

    def rows(self) -> int:
        return sum(pq.read_metadata(path).num_rows for path in self.output.glob("clips/part-*.parquet"))

    def has_more_than(self, rows: int) -> bool:
        return self.rows() > rows

    def holder(self) -> lease.Holder:
        return lease.Holder.from_json(storage.read_bytes(lease.lease_uri(str(self.output))))

    def until(self, true: Callable[[], bool], seconds: float = 300.0) -> float:
        """Wait until it is so; returns how long it took."""
        began = time.monotonic()
        while not true():
            assert time.monotonic() - began < seconds, self.log()
            assert self.started[-1].poll() is None or true(), self.log()
            time.sleep(0.02)
        return time.monotonic() - began

    def close(self) -> None:
        for process in self.started:
            if process.poll() is None:
                process.kill()
                process.wait()


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    one = Job(tmp_path)
    yield one
    one.close()


def _orphans(output: Path) -> set[str]:
    named = set(pq.read_table(output / "clips")["masks_part"].to_pylist())
    return {path.name for path in output.glob("masks/*")} - named


def _half_done(output: Path) -> set[str]:
    """Files of parts without a commit, and of plans."""
    return _orphans(output) | {path.name for path in output.glob("_runs/*/plan/*")}


def test_interrupts_free_the_lease_at_once_and_the_same_command_goes_on(
    job: Job, say: Callable[[str], None]
) -> None:
    done = 0
    for number, to_all in ((signal.SIGINT, True), (signal.SIGTERM, False)):
        process = job.start(0.1)
        job.until(partial(job.has_more_than, done))
        sent = time.monotonic()
        (os.killpg if to_all else os.kill)(process.pid, number)  # Ctrl-C goes to every process of the terminal
        took = job.until(lambda: job.holder().released, 30.0)
        assert took < 2.0, f"{number.name}: the lease was held for {took:.1f} s more"
        assert process.wait(60) == 130, job.log()
        assert "the same command resumes" in job.log() and "Traceback" not in job.log()
        # On a busy machine there may be no time to remove all of it within what `ray job stop` leaves.
        left = len(_half_done(job.output))
        ended = time.monotonic() - sent
        say(f"{number.name}: lease free after {took:.2f} s, ended after {ended:.2f} s, {left} files left half-done")
        done = job.rows()
        assert 0 < done < CLIPS
    assert job.start(0.0).wait(300) == 0, job.log()
    assert f"{done} finished before, {CLIPS - done} to do" in job.log()
    assert not _half_done(job.output)
    rows = pq.read_table(job.output / "masks").to_pylist()
    assert Counter(row["clip_id"] for row in rows) == {f"c{number:02d}": FRAMES for number in range(CLIPS)}


def test_a_run_that_is_killed_gives_way_when_its_lease_expires(job: Job) -> None:
    """A machine that goes down takes driver and cluster with it; meanwhile another run is refused by name."""
    process = job.start(0.1)
    job.until(partial(job.has_more_than, 0))
    holder = job.holder()
    family = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    for child in family:
        if child.is_running():
            child.kill()
    refused = job.start(0.0, "--wait-for-lease", "0")
    assert refused.wait(300) == 2, job.log()
    assert f"is held by run {holder.run_id} (host {holder.host}, process {process.pid}" in job.log()
    assert job.start(0.0).wait(300) == 0, job.log()
    assert job.rows() == CLIPS and _orphans(job.output) == set()
    assert pq.read_table(job.output / "masks").num_rows == CLIPS * FRAMES
