"""The job on a cluster of three nodes with an object storage, all on loopback, as `make cluster` runs it.

One run serves all tests here. While it goes on, the CPU node is killed as soon as it decodes, and the nodes' metrics
are read the way Prometheus reads them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from infra.local.cluster import LocalCluster, Outcome, local_cluster
from infra.local.ray_nodes import IP, RAY, free_port
from pipeline.progress.prometheus import METRICS
from tests.conftest import ROOT
from tests.infra.test_monitoring import expressions, metric_names

FRAMES = 124 + 120  # the scenes, and their ranges of twelve frames
LATE = 2  # clips that may end between the last look at the metrics and the end of their actor
# Nothing is exported of devices that were lost until one is.
AFTER_A_LOSS = {"ray_siammask_device_losses_total"}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@dataclass
class Scrape:
    """The largest value that each metric had, by name and, of its labels, status or of."""

    cluster: LocalCluster
    values: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    labels: dict[str, set[str]] = field(default_factory=dict)

    def __call__(self) -> None:
        together: dict[str, float] = defaultdict(float)
        for node in self.cluster.ray.nodes:
            try:
                with urllib.request.urlopen(f"http://{IP}:{node.metrics_port}/metrics", timeout=5) as answer:
                    text = answer.read().decode()
            except OSError:
                continue  # the lost one
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    kind = sample.labels.get("status") or sample.labels.get("of") or ""
                    together[f"{sample.name}:{kind}"] += sample.value
                    self.labels.setdefault(sample.name, set()).update(sample.labels)
        for name, value in together.items():
            self.values[name] = max(self.values[name], value)


@dataclass
class Ran:
    cluster: LocalCluster
    clips: int
    outcome: Outcome
    scrape: Scrape
    prometheus: str | None


@pytest.fixture(scope="module")
def ran() -> Iterator[Ran]:
    with tempfile.TemporaryDirectory(prefix="sm-", dir="/tmp", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with local_cluster(folder, {"RAY_metrics_report_interval_ms": "1000"}) as cluster:
            clips = cluster.upload_corpus(folder / "corpus")
            environment = folder / "runtime_env.yaml"
            shipped = yaml.safe_load((ROOT / "infra" / "runtime_env.yaml").read_text())
            environment.write_text(yaml.safe_dump({"env_vars": shipped["env_vars"]}))
            scrape = Scrape(cluster)
            prometheus = _start_prometheus(folder)
            try:
                outcome = cluster.submit(
                    "run", ["--commit-every", "10"], lose=cluster.decode, watch=scrape, runtime_env=environment
                )
                yield Ran(cluster, clips, outcome, scrape, prometheus[1] if prometheus else None)
            finally:
                if prometheus:
                    prometheus[0].terminate()
                    prometheus[0].wait(20)
        assert _processes_of(name) == [], "something was left running"


def _start_prometheus(folder: Path) -> tuple[subprocess.Popen[bytes], str] | None:
    """Prometheus with our configuration, its files where this cluster has them."""
    program = shutil.which("prometheus")
    if program is None:
        return None
    config = yaml.safe_load((ROOT / "infra" / "monitoring" / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "2s", "evaluation_interval": "2s"}
    config["rule_files"] = [str(ROOT / "infra" / "monitoring" / "alerts.yaml")]
    found = str(folder / "ray" / "ray" / "prom_metrics_service_discovery.json")
    config["scrape_configs"][0]["file_sd_configs"] = [{"files": [found], "refresh_interval": "2s"}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    command = [program, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/prometheus"]
    process = subprocess.Popen([*command, f"--web.listen-address={address}"], stderr=subprocess.DEVNULL)
    return process, f"http://{address}"


def _processes_of(folder: str) -> list[list[str]]:
    return [
        process.info["cmdline"]
        for process in psutil.process_iter(["cmdline"])
        if process.info["cmdline"] and any(folder in part for part in process.info["cmdline"])
    ]


def test_every_clip_is_committed_though_a_node_was_lost(ran: Ran) -> None:
    assert ran.outcome.status == 0, ran.outcome.output
    assert ran.outcome.lost == "decode"
    assert ran.outcome.clips == {"ok": ran.clips}
    assert f"{ran.clips} clips: {ran.clips} ok, 0 partial, 0 failed" in ran.outcome.output


def test_actors_live_on_the_gpu_node_and_decoding_spills_to_the_cpu_node(ran: Ran) -> None:
    assert set(ran.outcome.actors) == {"gpu"}
    assert ran.outcome.decodes["decode"] >= 1 and ran.outcome.decodes["gpu"] >= 1
    assert set(ran.outcome.decodes) == {"gpu", "decode"}, "the head takes no work"


def test_a_job_without_the_token_is_refused(ran: Ran) -> None:
    environment = {**ran.cluster.ray.client_environment(), "RAY_AUTH_MODE": "disabled"}
    del environment["RAY_AUTH_TOKEN"]
    command = [*RAY, "job", "submit", "--address", ran.cluster.ray.dashboard, "--", "true"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, cwd="/")
    assert done.returncode != 0
    assert re.search("401|[Uu]nauthori|[Aa]uthentication", done.stdout + done.stderr)


def test_a_scrape_shows_every_metric_with_plausible_values(ran: Ran) -> None:
    values = ran.scrape.values
    missing = [metric.name for metric in METRICS if not any(key.startswith(f"ray_{metric.name}:") for key in values)]
    assert {f"ray_{name}" for name in missing} == AFTER_A_LOSS
    assert ran.clips - LATE <= values["ray_siammask_clips_total:ok"] <= ran.clips == values["ray_siammask_run_clips:"]
    assert FRAMES - 12 * LATE <= values["ray_siammask_frames_total:"] < 3 * FRAMES  # what was begun again counts again
    assert values["ray_siammask_track_frames_total:"] >= values["ray_siammask_frames_total:"]
    assert values["ray_siammask_retries_total:clip"] >= 1, "the lost node had a clip under way"
    assert values["ray_siammask_run_actors:"] == 1
    assert 1 <= values["ray_siammask_engine_batch_tracks:"] <= 8
    assert values["ray_siammask_commits_total:"] >= 1
    assert 0 < values["ray_siammask_engine_busy_seconds_total:"] < ran.outcome.seconds
    assert 0 < values["ray_siammask_engine_idle_seconds_total:"] < ran.outcome.seconds
    assert 0 < values["ray_siammask_staging_bytes:"] < values["ray_siammask_staged_bytes_total:"] * 2


def test_the_dashboard_and_the_alerts_ask_for_metrics_that_exist(ran: Ran) -> None:
    exported = {key.split(":")[0] for key in ran.scrape.values}
    for expression in expressions():
        assert metric_names(expression) <= exported | AFTER_A_LOSS, expression
        for name in metric_names(expression) - AFTER_A_LOSS:
            asked = set(re.findall(r"by \(([^)]*)\)", expression))
            wanted = {label.strip() for group in asked for label in group.split(",")}
            assert wanted <= ran.scrape.labels[name], f"{expression}: {name} has {ran.scrape.labels[name]}"


def test_prometheus_reads_the_cluster(ran: Ran) -> None:
    if ran.prometheus is None:
        pytest.skip("Prometheus is not installed: the endpoint was read by its Python client alone")
    for expression in expressions():
        answer = _query(ran.prometheus, expression.replace("$run", ".*"))
        assert answer["status"] == "success", expression
    (frames,) = _query(ran.prometheus, "sum(max_over_time(ray_siammask_frames_total[10m]))")["data"]["result"]
    assert float(frames["value"][1]) >= FRAMES - 12 * LATE


def _query(address: str, expression: str) -> dict[str, Any]:
    query = urllib.parse.urlencode({"query": expression})
    with urllib.request.urlopen(f"{address}/api/v1/query?{query}", timeout=20) as answer:
        return json.loads(answer.read())


def test_logs_are_json_with_the_clips_id_where_asked_for(ran: Ran) -> None:
    arguments = ["--clips-per-file", "1", "--limit", "1"]
    client = ran.cluster._client()
    row = {"clip_id": "not-there", "video_uri": "nothing.mp4", "objects": [{"box": [1, 1, 9, 9]}]}
    client.put_object(Bucket=ran.cluster.store.settings.bucket, Key="bad/m.jsonl", Body=json.dumps(row).encode())
    environment = ran.cluster.ray.folder.parent / "runtime_env.yaml"
    outcome = ran.cluster.submit("bad/run", arguments, manifest="bad/m.jsonl", runtime_env=environment)
    assert outcome.status == 0 and outcome.clips == {"failed": 1}, outcome.output
    said = []
    for log in ran.cluster.ray.folder.glob("ray/session_*/logs/worker-*.err"):
        for line in log.read_text(errors="replace").splitlines():
            if line.startswith("{") and "not-there" in line:
                said.append(json.loads(line))
    assert said and said[0]["clip_id"] == "not-there" and said[0]["clip_status"] == "failed"
    assert said[0]["levelname"] == "WARNING" and said[0]["job_id"]


def test_gpus_that_torch_cannot_use_are_refused_before_any_work(ran: Ran) -> None:
    """The GPU node has none but in name."""
    outcome = ran.cluster.submit("refused", ["--device", "cuda"])
    assert outcome.status != 0 and not outcome.clips
    # The client prints a failed job's last lines once more.
    (error,) = set(re.findall(r"^error: --device cuda: on node \S+, torch .*", outcome.output, re.MULTILINE))
    assert "install" in error


def test_an_interrupt_takes_everything_down() -> None:
    command = [sys.executable, "-m", "infra.local.cluster", "--keep"]
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 120
        family: list[psutil.Process] = []
        while not any("gcs_server" in child.name() for child in family) and time.monotonic() < deadline:
            time.sleep(0.5)
            family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        assert process.wait(90) == 130
        assert process.stderr is not None and b"interrupted" in process.stderr.read()
        _, alive = psutil.wait_procs(family, timeout=20)
        assert alive == []
    finally:
        process.kill()
