"""A Ray cluster of several nodes on this machine, whose processes can be found and killed: its own ones, and no others.

Only what descends from a process that this object started is ever killed.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import tempfile
from pathlib import Path
from typing import Any, Literal

import psutil

# Loopback too, but not the address that Ray replaces by one of the network's.
ADDRESS = "127.0.0.2"
Kind = Literal["decoder", "actor", "control", "reader"]
_TITLES: dict[Kind, tuple[str, ...]] = {
    "decoder": ("ray::lane_packs",),
    "actor": ("ray::MapWorker", "ray::Segmenter"),
    "control": ("ray::ControlRoom",),
    "reader": ("ray::ReadParquet",),
}


class LocalCluster:
    """Nodes on loopback, the first of them the head. Use as a context manager.

    The nodes get this process's environment as it is when they start.

    Args:
        nodes: how many.
        cpus: of each node.
    """

    def __init__(self, nodes: int = 3, cpus: int = 2) -> None:
        self._nodes, self._cpus = nodes, cpus
        self._cluster: Any = None
        # A short path: the names of Unix sockets are limited. A folder of its own: the notes on running clusters too.
        self._folder = tempfile.mkdtemp(prefix="rc-", dir="/tmp")

    def __enter__(self) -> LocalCluster:
        os.environ["RAY_TMPDIR"] = self._folder
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill_all()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def address(self) -> str:
        """For RAY_ADDRESS."""
        return str(self._cluster.gcs_address)

    @property
    def size(self) -> int:
        return len(self._cluster.list_all_nodes())

    def start(self) -> None:
        """Start all nodes, which must not be up."""
        from ray.cluster_utils import Cluster

        self._cluster = Cluster(initialize_head=True, head_node_args={**self._arguments(), "include_dashboard": False})
        while self.size < self._nodes:
            self.add_node()

    def add_node(self) -> None:
        """Start one more node."""
        self._cluster.add_node(**self._arguments())

    def kill_node(self, rng: random.Random) -> int:
        """Lose a node that is not the head, with all its processes at once; returns how many, 0 without one."""
        nodes = sorted(self._cluster.worker_nodes, key=lambda node: node.unique_id)
        if not nodes:
            return 0
        node = rng.choice(nodes)
        killed = _kill(_family(node))
        self._cluster.remove_node(node, allow_graceful=False)
        return killed

    def kill_all(self) -> int:
        """Lose every node at once."""
        if self._cluster is None:
            return 0
        nodes = self._cluster.list_all_nodes()
        killed = _kill([process for node in nodes for process in _family(node)])
        for node in nodes:
            with contextlib.suppress(Exception):
                self._cluster.remove_node(node, allow_graceful=False)
        self._cluster = None
        return killed

    def workers(self, kind: Kind) -> list[psutil.Process]:
        """The worker processes that do this kind of work at the moment."""
        found = []
        for node in self._cluster.list_all_nodes():
            for process in _family(node):
                with contextlib.suppress(psutil.Error):
                    if " ".join(process.cmdline()).startswith(_TITLES[kind]):
                        found.append(process)
        return sorted(found, key=lambda process: process.pid)

    def kill_worker(self, kind: Kind, rng: random.Random, number: signal.Signals = signal.SIGKILL) -> int:
        """Kill one worker of a kind; returns 0 where there is none."""
        workers = self.workers(kind)
        return _kill([rng.choice(workers)], number) if workers else 0

    def kill_client_of(self, port: int) -> int:
        """Kill the worker whose connection has this local port; 0 where it is none of this cluster's."""
        for node in self._cluster.list_all_nodes():
            for process in _family(node):
                with contextlib.suppress(psutil.Error):
                    if any(one.laddr and one.laddr.port == port for one in process.net_connections("tcp")):
                        return _kill([process])
        return 0

    def logs(self) -> list[Path]:
        """The workers' error logs."""
        return sorted(Path(self._folder).glob("session_*/logs/worker-*.err"))

    def _arguments(self) -> dict[str, Any]:
        return {"num_cpus": self._cpus, "node_ip_address": ADDRESS, "object_store_memory": 256 << 20}


def _family(node: Any) -> list[psutil.Process]:
    """The processes of a node and all that descend from them."""
    found: dict[int, psutil.Process] = {}
    for group in node.all_processes.values():
        for info in group:
            with contextlib.suppress(psutil.Error):
                parent = psutil.Process(info.process.pid)
                found |= {process.pid: process for process in (parent, *parent.children(recursive=True))}
    return list(found.values())


def _kill(processes: list[psutil.Process], number: signal.Signals = signal.SIGKILL) -> int:
    killed = 0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)
            killed += 1
    return killed
