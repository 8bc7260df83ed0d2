"""Ray nodes as processes on this machine's loopback: `ray start` for each, with ports of its own.

Nothing here ever ends a process that it did not start.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

RAY = (sys.executable, "-m", "ray.scripts.scripts")
# Loopback too, but not the address that Ray replaces by one of the network's.
IP = "127.0.0.2"
DASHBOARD_HOST = "127.0.0.1"
JOIN_WITHIN_S = 120.0
# No workers before there is work for them, and time to start for those on a busy machine.
FRUGAL = {"RAY_prestart_worker_first_driver": "0", "RAY_worker_register_timeout_seconds": "240"}
STARTS = 3  # a busy machine needs more for a node than the half minute that Ray allows itself


class NodeError(RuntimeError):
    """A node did not start, or the cluster did not answer."""


@dataclass(frozen=True, slots=True)
class NodeShape:
    """What a node offers.

    Attributes:
        group: its node group, which Ray shows as the label `ray.io/node-group`.
        gpus: declared to Ray; there need be none.
    """

    group: str
    cpus: int
    gpus: int = 0
    object_store: int = 256 << 20


@dataclass(slots=True)
class RayNode:
    """A running node."""

    shape: NodeShape
    metrics_port: int
    log: Path
    process: subprocess.Popen[bytes]

    def family(self) -> list[psutil.Process]:
        """Its processes: those that descend from the one started here."""
        try:
            parent = psutil.Process(self.process.pid)
            return [parent, *parent.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def kill(self) -> None:
        """Lose the node, as a preempted machine is lost: all at once, without a word."""
        for process in self.family():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait(10)

    def stop(self) -> None:
        """End the node and wait for it; safe to call twice."""
        family = self.family()
        for process in family[:1]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
        _, alive = psutil.wait_procs(family, timeout=10)
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(alive, timeout=10)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)


@dataclass(slots=True)
class RayNodes:
    """A Ray cluster on loopback that asks for a token. Use as a context manager; leaving it ends every node.

    Args:
        folder: for Ray's files and the nodes' logs; its path must be short, since sockets are named in it.
        environment: more variables for the nodes, such as where the object storage is.
    """

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    token: str = field(default_factory=lambda: secrets.token_hex(32), repr=False)
    nodes: list[RayNode] = field(default_factory=list)
    port: int = 0
    dashboard_port: int = 0

    def __enter__(self) -> RayNodes:
        return self

    def __exit__(self, *_: object) -> None:
        for node in reversed(self.nodes):
            node.stop()

    @property
    def dashboard(self) -> str:
        """Where jobs are submitted to."""
        return f"http://{DASHBOARD_HOST}:{self.dashboard_port}"

    def client_environment(self) -> dict[str, str]:
        """This process's environment with the virtual environment active and the cluster's token in it."""
        kept = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token}
        return {**kept, **token, "PATH": path, "RAY_USAGE_STATS_ENABLED": "0", "RAY_TMPDIR": str(self.folder)}

    def start_head(self, shape: NodeShape) -> RayNode:
        """Start the head and wait until its dashboard answers."""
        self.port, self.dashboard_port, client = free_port(), free_port(), free_port()
        head = ["--head", "--port", str(self.port), "--ray-client-server-port", str(client)]
        head += ["--dashboard-host", DASHBOARD_HOST, "--dashboard-port", str(self.dashboard_port)]
        return self._started(shape, head)

    def add_node(self, shape: NodeShape) -> RayNode:
        """Start a node that joins the head, and wait until it has."""
        return self._started(shape, ["--address", f"{IP}:{self.port}"])

    def alive(self) -> list[dict[str, Any]]:
        """The nodes that the cluster knows to be alive, as Ray's state API tells of them."""
        return [node for node in self.state("nodes") if node["state"] == "ALIVE"]

    def state(self, kind: str, **filters: str) -> list[dict[str, Any]]:
        """Rows of Ray's state API: `nodes`, `actors` or `tasks`, those whose columns equal the filters."""
        query = "limit=10000&detail=true"
        for key, value in filters.items():
            query += f"&filter_keys={key}&filter_predicates=%3D&filter_values={value}"
        answer = json.loads(self.get(f"/api/v0/{kind}?{query}"))
        if not answer.get("result"):
            raise OSError(f"the state API has no {kind} yet: {answer.get('msg')}")
        return answer["data"]["result"]["result"]

    def get(self, path: str) -> bytes:
        """A page of the dashboard."""
        request = urllib.request.Request(self.dashboard + path, headers={"Authorization": f"Bearer {self.token}"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return bytes(answer.read())

    def _started(self, shape: NodeShape, arguments: list[str]) -> RayNode:
        """Start a node and wait until the cluster has one more.

        Raises:
            NodeError: it did not join; the message ends with its log.
        """
        before, log_end = (len(self.alive()) if self.nodes else 0), ""
        for _ in range(STARTS):
            node = self._start(shape, arguments)
            self.nodes.append(node)
            deadline = time.monotonic() + JOIN_WITHIN_S
            while time.monotonic() < deadline and node.process.poll() is None:
                with contextlib.suppress(OSError):
                    if len(self.alive()) > before:
                        return node
                time.sleep(0.5)
            node.stop()
            self.nodes.remove(node)
            log_end = node.log.read_text(errors="replace")[-2000:]
            if "timed out during startup" not in log_end:
                break
        raise NodeError(f"the {shape.group} node did not join the cluster; the end of its log:\n{log_end}")

    def _start(self, shape: NodeShape, arguments: list[str]) -> RayNode:
        metrics_port = free_port()
        own = [sys.executable, str(Path(__file__).with_name("own_node.py")), shape.group]
        command = [*own, "start", "--block", "--node-ip-address", IP, *arguments]
        command += ["--num-cpus", str(shape.cpus), "--num-gpus", str(shape.gpus)]
        command += ["--object-store-memory", str(shape.object_store), "--metrics-export-port", str(metrics_port)]
        # The agent takes the jobs; on its usual port it would meet that of another node on this machine.
        command += ["--dashboard-agent-listen-port", str(free_port())]
        environment = {**self.client_environment(), **FRUGAL, **self.environment, "RAY_NODE_TYPE_NAME": shape.group}
        log = self.folder / f"node-{len(self.nodes)}-{shape.group}.log"
        with log.open("wb") as to:
            process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=to, stderr=to, start_new_session=True,
                preexec_fn=_end_with_parent,
            )  # fmt: skip
        return RayNode(shape, metrics_port, log, process)


def _end_with_parent() -> None:
    """Have the system end this process when the one that started it is gone, even killed (Linux)."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def free_port() -> int:
    """A port of loopback that is free at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
