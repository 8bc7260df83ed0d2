"""One row a clip, whoever writes it: a clip that failed in its actor, and one that took its actor with it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ray.exceptions import RayActorError

from benchmarks.null_model import NullEngine
from pipeline.actor.clip_row import ClipEnding, clip_row
from pipeline.actor.clip_run import ClipRun, ClipSettings
from pipeline.clip import Clip, ObjectStart
from pipeline.decode.events import Chunk, Event, Failed, Finished, Opened, VideoInfo
from pipeline.driver.alone import commit_failed
from pipeline.output import lease
from pipeline.output.commit import PartWriter
from pipeline.output.schema import CLIPS
from pipeline.progress.tally import Tally

SETTINGS = ClipSettings(1, "pyav", 0.1, 60.0, "mbr", "siammask-r18", "bf16")
KEPT = {"camera": pa.string()}
INFO = VideoInfo(64, 48, 90, True, 25.0, "repaired", 30, "h264", "decord")


def _clip(clip_id: str) -> Clip:
    objects = (ObjectStart("0", box=(1, 2, 3, 4)), ObjectStart("0", init_frame=5, box=(1, 2, 3, 4)))
    return Clip(clip_id, "v.mp4", "/v.mp4", start_frame=2, end_frame=9, objects=objects, keep={"camera": "north"})


def _run_in_actor(output: str, scratch: Path, clip: Clip, events: list[Event]) -> None:
    common: dict[str, Any] = {"run_id": "run-1", "config_hash": "x", "scratch": scratch, "keep_types": KEPT}
    with PartWriter(output, "s1", **common) as writer:
        run = ClipRun(clip, SETTINGS, NullEngine(), writer, Tally())
        assert [run.take(event) for event in events][-1]
        writer.commit()


@pytest.fixture
def output(tmp_path: Path) -> Any:
    output = str(tmp_path / "out")
    with lease.acquire(output, "run-1", 0):
        yield output


def test_a_clip_that_killed_its_actor_has_the_columns_of_one_that_failed_there(output: str, tmp_path: Path) -> None:
    failed = Failed(0, "open", "InvalidData", "no video", 0, 0, False)
    _run_in_actor(output, tmp_path, _clip("in-actor"), [failed])
    plan: Any = SimpleNamespace(
        output=output, leased=output, run_id="run-1", config_hash="x", attempt=1, keep_types=KEPT,
        model_name="siammask-r18",
    )
    commit_failed(_clip("killer"), plan, RayActorError(), "bf16")
    alive, killer = sorted(pq.read_table(f"{output}/clips").to_pylist(), key=lambda row: row["clip_id"])
    own = {"clip_id", "error_stage", "error_type", "error_message", "started_at", "finished_at", "clip_hash"}
    assert {name: value for name, value in killer.items() if name not in own} == {
        name: value for name, value in alive.items() if name not in own
    }
    assert (killer["frames"], killer["corrupt_frames"], killer["decode_wait_s"]) == (0, 0, 0.0)
    assert (killer["model"], killer["precision"], killer["camera"]) == ("siammask-r18", "bf16", "north")
    assert killer["started_at"] <= killer["finished_at"]


def test_a_clip_that_ends_before_its_frames_do_is_charged_with_its_waiting(
    output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [10.0]
    monkeypatch.setattr("pipeline.actor.clip_run.time", SimpleNamespace(monotonic=lambda: clock[0]))

    class Opening:
        """`Opened`, four seconds after it was asked for; a box outside of the frame ends the clip there."""

        def __iter__(self) -> Any:
            clock[0] += 4
            yield Opened(0, INFO, 2, 9)

    clip = Clip("c", "v.mp4", "/v.mp4", objects=(ObjectStart("0", box=(100, 2, 3, 4)),), keep={"camera": "north"})
    common: dict[str, Any] = {"run_id": "run-1", "config_hash": "x", "scratch": tmp_path, "keep_types": KEPT}
    with PartWriter(output, "s1", **common) as writer:
        run = ClipRun(clip, SETTINGS, NullEngine(), writer, Tally())
        assert [run.take(event) for event in Opening()] == ["early"]
        writer.commit()
    (row,) = pq.read_table(f"{output}/clips").to_pylist()
    assert (row["error_stage"], row["error_type"], row["decode_wait_s"]) == ("init", "ObjectOutsideFrame", 4.0)
    assert (row["width"], row["rotation"], row["start_frame"], row["decoder"]) == (64, 90, 2, "decord")
    assert (row["timing"], row["mirrored"]) == ("repaired", True)


def test_every_column_is_named_in_every_ending() -> None:
    filled_in_by_the_writer = {"masks_part", "run_id", "attempt", "config_hash"}
    opened = Opened(0, INFO, 2, 9)
    for ending in (ClipEnding(), ClipEnding("ok", opened=opened, frames=7, decoder="pyav", decode_wait_s=0.5)):
        row = clip_row(_clip("c"), ending, started_at=datetime.now(UTC), model="m", precision="fp32")
        assert set(row) == set(CLIPS.names) - filled_in_by_the_writer | {"camera"}
        assert row["objects"] == 1, "two starts of one object"
    assert (row["decoder"], row["fps"], row["codec"]) == ("pyav", 25.0, "h264")


def test_an_ok_clip_has_no_error(output: str, tmp_path: Path) -> None:
    objects = (ObjectStart("0", box=(1, 2, 3, 4)),)
    clip = Clip("c", "v.mp4", "/v.mp4", objects=objects, keep={"camera": "south"})
    chunk = Chunk(0, np.zeros((3, 48, 64, 3), np.uint8), np.arange(2, 5), np.arange(2, 5) / 25, 1)
    _run_in_actor(output, tmp_path, clip, [Opened(0, INFO, 2, 5), chunk, Finished(0, 3, 1, "decord", 0.25)])
    (row,) = pq.read_table(f"{output}/clips").to_pylist()
    assert (row["status"], row["error_stage"], row["error_type"], row["error_message"]) == ("ok", None, None, None)
    assert (row["frames"], row["corrupt_frames"], row["decode_wait_s"], row["end_frame"]) == (3, 1, 0.25, 5)
