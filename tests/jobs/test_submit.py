"""The job on a real cluster, the way it is submitted: `ray start --head`, then `ray job submit`."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
import torch
from ray.job_submission import JobSubmissionClient

from model.network import SiamMask, SiamMaskConfig
from model.weights import save_weights
from pipeline.demo.corpus import write_corpus
from tests.chaos.corpus import compare
from tests.conftest import ROOT

RAY = [sys.executable, "-m", "ray.scripts.scripts"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _environment() -> dict[str, str]:
    """This process's with its virtual environment active, and free to join the cluster of the test."""
    kept = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**kept, "RAY_AUTH_MODE": "disabled", "PATH": path}


def _wait_for(url: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def _submit(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Submit a job and wait for it. A cluster takes jobs only some time after its first sign of life."""
    for _ in range(15):
        done = subprocess.run(command, env=_environment(), capture_output=True, text=True, timeout=500, cwd=ROOT)
        if "No available agent" not in done.stderr:
            break
        time.sleep(2)
    return done


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A cluster of one node on loopback; gives the address that jobs are submitted to."""
    environment = {**_environment(), "RAY_TMPDIR": f"/tmp/ray-submit-{os.getpid()}"}
    Path(environment["RAY_TMPDIR"]).mkdir(exist_ok=True)
    for attempt in range(3):  # Ray allows itself 30 s to start, which a machine busy with other work can miss
        log = tmp_path_factory.mktemp("ray") / "ray.log"
        port, dashboard_port = _free_port(), _free_port()
        started = subprocess.Popen(
            [*RAY, "start", "--head", "--block", "--node-ip-address", "127.0.0.1", "--port", str(port)]
            + ["--dashboard-host", "127.0.0.1", "--dashboard-port", str(dashboard_port), "--num-cpus", "2"]
            + ["--object-store-memory", str(512 << 20), "--ray-client-server-port", str(_free_port())]
            # The agent takes the jobs; on its usual port it would meet that of another Ray on this machine.
            + ["--dashboard-agent-listen-port", str(_free_port())],
            env=environment,
            stdout=log.open("w"),
            stderr=subprocess.STDOUT,
        )
        family = psutil.Process(started.pid)
        try:
            while started.poll() is None and "Ray runtime started" not in log.read_text():
                time.sleep(0.5)
            if started.poll() is not None and attempt < 2:
                continue
            address = f"http://127.0.0.1:{dashboard_port}"
            _wait_for(f"{address}/api/version")
            yield address
            return
        finally:
            _end(family)


def _end(parent: psutil.Process) -> None:
    """End a process that was started here, and all that descend from it."""
    with contextlib.suppress(psutil.NoSuchProcess):
        family = [parent, *parent.children(recursive=True)]
        parent.terminate()
        _, alive = psutil.wait_procs(family, timeout=8)
        for process in alive:
            process.kill()


def _command(dashboard: str, *entry: str) -> list[str]:
    return [*RAY, "job", "submit", "--address", dashboard, "--working-dir", str(ROOT), "--", *entry]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options of the job: a corpus, and random weights."""
    folder = tmp_path_factory.mktemp("work")
    torch.manual_seed(3)
    save_weights(folder / "random.safetensors", SiamMask(SiamMaskConfig("resnet18")), metadata={"name": "random"})
    manifest = write_corpus(folder / "corpus").manifest
    weights = str(folder / "random.safetensors")
    return ["--manifest", str(manifest), "--weights", weights, "--precision", "fp32", "--stride", "4"]


@pytest.fixture(scope="module")
def undisturbed(
    dashboard: str, work: list[str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The output of a job that nobody disturbed, and what the client that submitted it said."""
    output = tmp_path_factory.mktemp("undisturbed") / "out"
    return output, _submit(_command(dashboard, "python", "jobs/segment.py", *work, "--output", str(output)))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_submitted_job_finishes_and_reports(undisturbed: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    output, done = undisturbed
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 clips: 3 ok, 0 partial, 0 failed" in done.stdout
    assert re.search(r"\d/3 clips, 0 failed, [\d.]+ frames/s, [\d.]+ track-frames/s, ETA", done.stdout)
    assert pq.read_table(output / "clips").num_rows == 3
    (report,) = output.glob("_runs/*/report.json")
    assert json.loads(report.read_text())["exit_status"] == 0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_file_itself_can_be_submitted(dashboard: str, work: list[str], tmp_path: Path) -> None:
    done = _submit(_command(dashboard, "jobs/segment.py", *work, "--output", str(tmp_path / "out"), "--dry-run"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search("^placement ", done.stdout, re.MULTILINE), done.stdout


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_stopped_and_a_killed_job_are_taken_up_again(
    dashboard: str,
    work: list[str],
    undisturbed: tuple[Path, subprocess.CompletedProcess[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`ray job stop`, which kills 3 s after SIGTERM, frees the lease; kill -9 of the driver lets it expire."""
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", dashboard)  # or RAY_ADDRESS would win over the argument
    client = JobSubmissionClient(dashboard)

    def submit(output: Path) -> str:
        entry = ["python", "-m", "tests.chaos.driver", *work, "--output", str(output), "--commit-every", "1"]
        return client.submit_job(entrypoint=shlex.join(entry), runtime_env={"working_dir": str(ROOT)})

    def until(true: Callable[[], bool], seconds: float = 300.0) -> float:
        began = time.monotonic()
        while not true():
            assert time.monotonic() - began < seconds
            time.sleep(0.05)
        return time.monotonic() - began

    def ended(job: str) -> bool:
        return client.get_job_status(job).is_terminal()

    output = tmp_path / "out"
    stopped = submit(output)
    until(lambda: any(output.glob("_runs/*/config.json")))
    time.sleep(2)
    client.stop_job(stopped)
    until(lambda: ended(stopped))
    logs = client.get_job_logs(stopped)
    # Where a thread of Ray's own asks for what has been shut down, Ray 2.60 ends the process: the lease expires.
    died = "The core worker has already been shutdown" in logs
    assert died or b'"released": true' in (output / "_runs" / "lease.json").read_bytes(), logs
    assert "interrupted by SIGTERM: the same command resumes" in logs

    killed = submit(output)
    until(lambda: len(list(output.glob("_runs/*/config.json"))) == 2)
    time.sleep(2)
    drivers = [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] and str(output) in p.info["cmdline"]]
    assert drivers
    for driver in drivers:
        driver.kill()
    until(lambda: ended(killed))
    assert b'"released": false' in (output / "_runs" / "lease.json").read_bytes()

    again = submit(output)
    until(lambda: ended(again), 600.0)
    assert "3 clips: 3 ok, 0 partial, 0 failed" in client.get_job_logs(again), client.get_job_logs(again)
    compared = compare(str(output), str(undisturbed[0]))
    assert compared.good and compared.clips == 3, compared
