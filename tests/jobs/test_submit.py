"""The job on a real cluster, the way it is submitted: `ray start --head`, then `ray job submit`."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from model.network import SiamMask, SiamMaskConfig
from model.weights import save_weights
from pipeline.demo.corpus import write_corpus
from tests.conftest import ROOT

RAY = [sys.executable, "-m", "ray.scripts.scripts"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def dashboard(tmp_path: Path) -> Iterator[str]:
    """A cluster of one node on loopback; gives the address that jobs are submitted to."""
    port, dashboard_port = _free_port(), _free_port()
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_TMPDIR": f"/tmp/ray-submit-{os.getpid()}"}
    environment.pop("RAY_ADDRESS", None)
    Path(environment["RAY_TMPDIR"]).mkdir(exist_ok=True)
    started = subprocess.Popen(
        [*RAY, "start", "--head", "--block", "--node-ip-address", "127.0.0.1", "--port", str(port)]
        + ["--dashboard-host", "127.0.0.1", "--dashboard-port", str(dashboard_port), "--num-cpus", "2"]
        + ["--object-store-memory", str(512 << 20), "--ray-client-server-port", str(_free_port())],
        env=environment,
        stdout=(tmp_path / "ray.log").open("w"),
        stderr=subprocess.STDOUT,
    )
    try:
        yield f"http://127.0.0.1:{dashboard_port}"
    finally:
        started.terminate()  # with --block, the head takes its processes along
        try:
            started.wait(30)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait(10)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("entry", [["python", "jobs/segment.py"], ["jobs/segment.py"]])
def test_submitted_job_finishes_and_reports(dashboard: str, tmp_path: Path, entry: list[str]) -> None:
    torch.manual_seed(3)
    save_weights(tmp_path / "random.safetensors", SiamMask(SiamMaskConfig("resnet18")), metadata={"name": "random"})
    corpus = write_corpus(tmp_path / "corpus")
    arguments = ["--manifest", str(corpus.manifest), "--output", str(tmp_path / "out")]
    arguments += ["--weights", str(tmp_path / "random.safetensors")]
    submit = [*RAY, "job", "submit", "--address", dashboard, "--working-dir", str(ROOT), "--", *entry, *arguments]
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled"}
    done = subprocess.run(submit, env=environment, capture_output=True, text=True, timeout=500, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 clips: 3 ok, 0 partial, 0 failed" in done.stdout
    assert re.search(r"\d/3 clips, 0 failed, [\d.]+ frames/s, [\d.]+ track-frames/s, ETA", done.stdout)
    assert pq.read_table(tmp_path / "out" / "clips").num_rows == 3
    (report,) = (tmp_path / "out").glob("_runs/*/report.json")
    assert json.loads(report.read_text())["exit_status"] == 0
