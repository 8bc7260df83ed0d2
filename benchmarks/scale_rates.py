"""Measure on this machine what the driver, the control room, the object store and the storage take."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.scale_model import Rates
from pipeline import storage
from pipeline.cluster.connect import configure_data
from pipeline.manifest import read_manifest
from pipeline.output.commit import PartWriter
from pipeline.output.index import OutputIndex
from pipeline.output.lease import acquire
from pipeline.output.names import ClipsPart
from pipeline.output.schema import MaskRow
from pipeline.plan.shards import Shard, plan_shards, read_plan, write_plan

HASH = "0" * 64


def measure(
    *,
    track_frames: float,
    decoded_frames: float,
    finished_masks: float,
    nodes: int = 4,
    shards: int = 1500,
    parts: int = 400,
) -> Rates:
    """All rates: those of engine, decoder and masks as given (`python -m benchmarks` measures them), others measured.

    Args:
        nodes: fake nodes of Ray's own test cluster, each with a GPU that is not there and one actor.
        shards: that are handed out.
        parts: that are written, listed and read, in a SeaweedFS on loopback.
    """
    configure_data()
    with tempfile.TemporaryDirectory() as name, _cluster(nodes):
        folder = Path(name)
        dispatch = dispatch_seconds(folder, nodes, shards)
        report, store = report_seconds(), store_bytes()
        plan = plan_clip_seconds(folder)
        with _s3(folder) as output:
            commit, listing, reading = storage_seconds(output, folder, parts)
    return Rates(track_frames, decoded_frames, finished_masks, store, dispatch, report, commit, listing, reading, plan)


def dispatch_seconds(folder: Path, actors: int, shards: int) -> float:
    """Seconds between two shards with calls that do nothing: the driver's own, since its actors wait for it.

    The first quarter is left out: in it the actors start.
    """
    from ray.data import ActorPoolStrategy

    plan = write_plan((Shard(f"s{i}", ("{}",) * 32, 1) for i in range(shards)), str(folder / "plan"))
    done = (
        read_plan(plan)
        .repartition(target_num_rows_per_block=1)
        .map_batches(
            _Nothing,
            batch_size=1,
            num_gpus=1,
            num_cpus=0,
            compute=ActorPoolStrategy(
                size=actors,
                max_tasks_in_flight_per_actor=2,
                max_concurrent_calls_per_actor=2,
                enable_true_multi_threading=True,
            ),
        )
    )
    times = [time.perf_counter() for _ in done.iter_rows()]
    assert len(times) == shards
    first = shards // 4
    return (times[-1] - times[first]) / (shards - first)


def report_seconds(reports: int = 2000) -> float:
    """Seconds that the control room takes for an actor's report."""
    import ray

    from pipeline.progress.control import Control
    from pipeline.progress.counts import Counts

    control = Control()
    ray.get(control.room.state.remote())
    started = time.perf_counter()
    ray.get([control.room.report.remote("an actor", Counts(frames=1), Counts()) for _ in range(reports)])
    seconds = (time.perf_counter() - started) / reports
    ray.kill(control.room)
    return seconds


def store_bytes(chunk: int = 32 << 20, chunks: int = 12) -> float:
    """Bytes/s of chunks that one worker makes and another process reads, through the object store of one node."""
    import ray

    frames = ray.remote(num_cpus=0)(_frames)
    ray.get(frames.remote(1))
    started = time.perf_counter()
    for _ in range(chunks):
        int(ray.get(frames.remote(chunk)).max())
    return chunk * chunks / (time.perf_counter() - started)


def plan_clip_seconds(folder: Path, clips: int = 20_000) -> float:
    """Seconds that the driver takes to check and plan a clip."""
    manifest = folder / "manifest.jsonl"
    line = '{{"clip_id": "clip-{0:08d}", "video_uri": "videos/{0}.mp4", "objects": [{{"box": [1, 2, 30, 40]}}]}}\n'
    manifest.write_text("".join(line.format(i) for i in range(clips)))
    started = time.perf_counter()
    read = read_manifest(str(manifest))
    rows = (row for batch in read.rows() for row in batch)
    settings: dict[str, Any] = {"config_hash": HASH, "clips_per_file": 32, "concurrent_calls": 2, "total_clips": clips}
    assert write_plan(plan_shards(rows, **settings), str(folder / "planned")).clips == clips
    return (time.perf_counter() - started) / clips


def storage_seconds(output: str, folder: Path, parts: int) -> tuple[float, float, float]:
    """Seconds to commit a shard of 32 clips with 30 rows each, to list one object, and to read one clips part."""
    lease = acquire(output, "measure", 0.0)
    committed = []
    for shard in range(8):
        scratch = folder / f"{shard}"
        scratch.mkdir()
        with PartWriter(output, f"{shard:016x}", run_id="measure", config_hash=HASH, scratch=scratch) as writer:
            for number in range(32):
                clip = f"clip-{shard}-{number}"
                writer.add_rows(clip, [_tracked(index) for index in range(30)])
                writer.finish_clip(_row(clip), keep_rows=True)
            committed.append(_time(writer.commit))
    lease.release()
    (first, *_) = storage.list_files(output, "clips/")
    data = storage.read_bytes(first.uri)
    for number in range(parts):
        storage.write_bytes(storage.join(output, "clips", ClipsPart(f"{number + 100:016x}", 0, "ok").name), data)
    listing = _time(lambda: sum(1 for _ in storage.list_files(output, "clips/")))
    reading = _time(OutputIndex(output).refresh) - listing
    return float(np.median(committed)), listing / (parts + 8), max(0.0, reading) / (parts + 8)


class _Nothing:
    """An actor whose calls do nothing."""

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list]:
        return {"name": [str(batch["name"][0])]}


def _frames(size: int) -> np.ndarray:
    return np.zeros(size, np.uint8)


def _time(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _tracked(index: int) -> MaskRow:
    box = np.array([10.0, 10.0, 40.0, 30.0])
    corners = np.array([10, 10, 50, 10, 50, 40, 10, 40], np.float64)
    rle = {"size": [1080, 1920], "counts": "0" * 60}
    rbox = (30.0, 25.0, 40.0, 30.0, 0.0)
    return MaskRow("0", index, index / 30, 0.9, 0.9, "tracked", box, rle, 1200, rbox, corners, True)


def _row(clip_id: str) -> dict[str, Any]:
    now = datetime.now(UTC)
    return {
        "clip_id": clip_id,
        "video_uri": "v.mp4",
        "status": "ok",
        "objects": 1,
        "started_at": now,
        "finished_at": now,
        "clip_hash": "0" * 64,
    }


@contextmanager
def _cluster(nodes: int) -> Iterator[None]:
    """Ray's own test cluster: a head with this machine's CPUs, and nodes that declare a GPU each."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    for _ in range(nodes):
        cluster.add_node(num_cpus=0, num_gpus=1, object_store_memory=128 << 20)
    ray.init(address=cluster.address, log_to_driver=False, configure_logging=False)
    try:
        yield
    finally:
        ray.shutdown()
        cluster.shutdown()


@contextmanager
def _s3(folder: Path) -> Iterator[str]:
    import os

    from infra.local import seaweed

    settings = seaweed.S3Settings(port=seaweed.free_port_block())
    with seaweed.start(settings, folder / "s3"):
        os.environ.update(settings.environment())
        yield settings.uri("scale")
