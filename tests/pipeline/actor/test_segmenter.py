"""A tracker actor works through shards: in a real Ray actor with real decoding, and an engine that costs nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.null_model import build_null_engine
from pipeline.actor.engine import EngineBuilder
from pipeline.actor.run_plan import RunPlan
from pipeline.actor.segmenter import Segmenter
from pipeline.clip import Clip, ObjectStart
from pipeline.output import lease
from pipeline.plan.model import RunModel
from pipeline.plan.options import ActorCount, SegmentOptions
from pipeline.plan.placement import Placement
from pipeline.progress.control import ControlRoom
from pipeline.progress.counts import Counts
from tests.pipeline.videos import make_video

pytestmark = pytest.mark.usefixtures("ray_local")

MODEL = RunModel("null", "0" * 64, "siammask-batch", {}, "{}", {}, b"")
PLACED = Placement(
    "cpu", ActorCount(1, 1), 0, 0, 2, 2, 0.0, 1, 8,
    compiled=False, deterministic=False, chunk_bytes=1 << 20, actor_labels={},
)  # fmt: skip
BOX = (10.0, 5.0, 20.0, 8.0)


def build_nothing(model: Any, placement: Any, precision: Any) -> Any:
    raise RuntimeError("the device is not ready")


@contextmanager
def run(output: str, build_engine: EngineBuilder = build_null_engine) -> Iterator[tuple[Any, Any]]:
    """A tracker actor, whose run holds the output, and the control room that it reports to."""
    import ray

    room = ray.remote(ControlRoom).options(num_cpus=0).remote()
    plan = RunPlan(
        options=SegmentOptions("m.jsonl", output, stride=2),
        placement=PLACED,
        output=output,
        leased=output,
        run_id="run-1",
        config_hash="c",
        model=ray.put(MODEL),
        model_name=MODEL.name,
        control=room,
        attempt=3,
        keep_types={"camera": pa.string()},
        build_engine=build_engine,
    )
    remote: Any = ray.remote(Segmenter)
    actor = remote.options(num_cpus=0, max_restarts=0).remote(plan)
    try:
        with lease.acquire(output, "run-1", 0):
            yield actor, room
    finally:
        ray.kill(actor)
        ray.kill(room)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    """Two objects through a range of a video, one object through another video, and one video that is broken."""
    folder = tmp_path_factory.mktemp("videos")
    first, second = make_video(folder / "a.mp4", 12), make_video(folder / "b.mp4", 8)
    (folder / "broken.mp4").write_bytes(b"no video" * 99)
    pair = (ObjectStart("left", box=BOX), ObjectStart("right", init_frame=6, end_frame=8, box=BOX))
    single = (ObjectStart("0", box=BOX),)
    return [
        Clip("pair", "a.mp4", str(first), start_frame=4, end_frame=10, objects=pair, keep={"camera": "north"}),
        Clip("single", "b.mp4", str(second), objects=single, keep={"camera": "south"}),
        Clip("broken", "broken.mp4", str(folder / "broken.mp4"), objects=single, keep={"camera": "west"}),
    ]


def _batch(name: str, clips: list[Clip]) -> dict[str, np.ndarray]:
    """As Ray Data hands over one row of the plan."""
    texts = np.empty(1, object)
    texts[0] = [clip.to_json() for clip in clips]
    return {"name": np.array([name]), "clips": texts}


def _table(output: Path, name: str) -> list[dict[str, Any]]:
    return pq.read_table(output / name).to_pylist()


def test_a_shard_becomes_rows_and_its_call_a_small_answer(clips: list[Clip], tmp_path: Path) -> None:
    import ray

    with run(str(tmp_path)) as (actor, room):
        answer = ray.get(actor.__call__.remote(_batch("s1", clips)))
        assert answer == {"name": ["s1"], "clips": [3], "committed": [3]}
        state = ray.get(room.state.remote())
        actor_id, precision = ray.get(actor.identity.remote())
        assert actor_id == actor._actor_id.hex()
    done, waiting = state.done, state.waiting
    assert (done.ok, done.failed, done.frames, done.track_frames) == (2, 1, 7, 8)
    assert done.commits == 1 and waiting == Counts()
    ended = {row["clip_id"]: row for row in _table(tmp_path, "clips")}
    assert {name: row["status"] for name, row in ended.items()} == {"pair": "ok", "single": "ok", "broken": "failed"}
    pair, broken = ended["pair"], ended["broken"]
    assert (pair["frames"], pair["objects"], pair["start_frame"], pair["end_frame"]) == (3, 2, 4, 10)
    assert (pair["model"], pair["run_id"], pair["attempt"]) == ("null", "run-1", 3)
    assert pair["precision"] == broken["precision"] == precision == "fp32"
    assert [row["camera"] for row in (pair, ended["single"], broken)] == ["north", "south", "west"]
    assert (broken["error_stage"], broken["model"], broken["masks_part"]) == ("open", "null", None)
    frames: dict[tuple[str, str], list[int]] = {}
    for row in _table(tmp_path, "masks"):
        frames.setdefault((row["clip_id"], row["object_id"]), []).append(row["frame_index"])
        assert row["bbox"] == dict(zip("xywh", BOX, strict=True))
    assert frames == {("pair", "left"): [4, 6, 8], ("pair", "right"): [6], ("single", "0"): [0, 2, 4, 6]}


def test_a_repeated_call_commits_what_is_missing_until_it_is_asked_to_stop(clips: list[Clip], tmp_path: Path) -> None:
    import ray

    pair, single, broken = clips
    with run(str(tmp_path)) as (actor, room):
        assert ray.get(actor.run_shard.remote("s1", [pair])) == 1
        assert ray.get(actor.run_shard.remote("s1", [pair, single])) == 1
        ray.get(room.stop.remote())
        assert ray.get(actor.run_shard.remote("s1", [pair, single])) == 0  # reports at its end, and is told there
        assert ray.get(actor.run_shard.remote("s2", [broken])) == 0
    assert sorted(row["clip_id"] for row in _table(tmp_path, "clips")) == ["pair", "single"]


def test_an_engine_that_cannot_be_built_fails_the_calls(clips: list[Clip], tmp_path: Path) -> None:
    import ray

    with (
        run(str(tmp_path), build_nothing) as (actor, _),
        pytest.raises(ray.exceptions.RayActorError, match="the device is not ready"),
    ):
        ray.get(actor.run_shard.remote("s1", clips))
