"""The end of a run: who may remove files, and that nothing half-done is left, whatever happened to the actors."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from ray.exceptions import RayTaskError

from pipeline import storage
from pipeline.driver import ending, run
from pipeline.driver.run import SegmentRun
from pipeline.errors import UsageError
from pipeline.manifest import read_manifest
from pipeline.output import lease
from pipeline.output.commit import PartWriter
from pipeline.output.lease import LeaseLost
from pipeline.output.names import masks_part_name
from pipeline.output.schema import CLIPS
from pipeline.plan.model import RunModel
from pipeline.plan.options import ActorCount, SegmentOptions
from pipeline.plan.placement import Placement
from pipeline.plan.prepare import Prepared
from pipeline.progress.counts import Counts
from tests.pipeline.output.output_parts import indexed
from tests.pipeline.output_rows import clip


@pytest.fixture
def output(tmp_path: Path) -> str:
    return str(tmp_path / "out")


@pytest.fixture
def prepared(output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Prepared:
    """A run of one clip, `a`, of which all but the cluster is real."""
    monkeypatch.setattr(ending, "FENCE_PAUSES_S", (0.0,))
    path = tmp_path / "m.jsonl"
    path.write_text('{"clip_id": "a", "video_uri": "a.mp4", "objects": [{"box": [1, 1, 5, 5]}]}\n')
    return Prepared(
        options=SegmentOptions(manifest=str(path), output=output, report=False),
        output=output,
        run_id="run-1",
        model=RunModel("m", "d" * 64, "siammask-batch", {}, "{}", {}, b""),
        config_hash="ours",
        manifest=read_manifest(str(path), reserved=CLIPS.names, in_process=True),
        placement=Placement("cpu", ActorCount(1, 1), 1, 0, 2, 1, 0, 1, 8, False, False, 1 << 20, {}),
        owns_ray=False,
        started_at=datetime.now(UTC),
    )


class Actors:
    """In place of the cluster: leaves an orphan, commits the run's clip or raises, as it is told."""

    def __init__(self, prepared: Prepared, scratch: Path, then: Callable[[], None] = lambda: None) -> None:
        self._prepared, self._scratch, self._then = prepared, scratch, then
        self.orphan = storage.join(prepared.output, "masks", masks_part_name("s"))

    def __call__(self, *_: object) -> Counts:
        prepared = self._prepared
        storage.write_bytes(self.orphan, b"rows of an attempt that was never committed")
        self._then()
        ((row,),) = prepared.manifest.rows()
        writer = PartWriter(
            prepared.output, "s", run_id=prepared.run_id, config_hash=prepared.config_hash, scratch=self._scratch
        )
        writer.finish_clip(clip("a", "failed", clip_hash=row.clip().clip_hash), keep_rows=False)
        writer.commit()
        return Counts()


def _raising(error: BaseException) -> Callable[[], None]:
    def then() -> None:
        raise error

    return then


def _taken_over(output: str) -> None:
    other = lease.Holder("run-2", "elsewhere", 1, "now")
    storage.write_bytes(lease.lease_uri(output), other.to_json())


def test_what_an_actor_left_half_done_is_gone_when_the_run_ends(prepared: Prepared, tmp_path: Path) -> None:
    actors = Actors(prepared, tmp_path)
    assert SegmentRun(prepared, segment=actors).run() == 0
    assert not storage.exists(actors.orphan)


@pytest.mark.parametrize(
    "error", [RuntimeError("r"), LeaseLost("l"), storage.Unavailable("s3://b/k", "w", "c", "a"), KeyboardInterrupt("i")]
)
def test_a_run_that_lost_the_output_removes_nothing_from_it(
    prepared: Prepared, tmp_path: Path, error: BaseException
) -> None:
    def then() -> None:
        _taken_over(prepared.output)
        raise error

    actors = Actors(prepared, tmp_path, then)  # its orphan is about to be committed by the other run
    status = SegmentRun(prepared, segment=actors).run()
    assert status == (130 if isinstance(error, KeyboardInterrupt) else 1)
    assert storage.exists(actors.orphan)


@pytest.mark.parametrize("error", [RuntimeError("r"), storage.Unavailable("s3://b/k", "write", "c", "a")])
def test_a_failed_run_says_why_and_leaves_nothing_half_done(
    prepared: Prepared, tmp_path: Path, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    actors = Actors(prepared, tmp_path, _raising(error))
    assert SegmentRun(prepared, segment=actors).run() == 1
    assert f"error: {error}" in capsys.readouterr().err
    assert not storage.exists(actors.orphan)


@pytest.mark.parametrize("error", [None, RuntimeError("r"), KeyboardInterrupt("i")])
def test_no_plan_stays_behind_neither_this_runs_nor_a_killed_ones(
    prepared: Prepared, tmp_path: Path, error: BaseException | None
) -> None:
    runs = storage.join(prepared.output, "_runs")
    plans = [storage.join(runs, run_id, "plan", "plan-000000.parquet") for run_id in ("run-0", "run-1")]
    kept = storage.join(runs, "run-0", "report.json")
    storage.write_bytes(plans[0], b"of a run that was killed")
    storage.write_bytes(kept, b"{}")

    def then() -> None:
        storage.write_bytes(plans[1], b"of this run")
        if error is not None:
            raise error

    SegmentRun(prepared, segment=Actors(prepared, tmp_path, then)).run()
    assert [uri for uri in plans if storage.exists(uri)] == []
    assert storage.exists(kept)


def test_a_second_run_is_refused_and_told_who_holds_the_output(prepared: Prepared, tmp_path: Path) -> None:
    waiting = replace(prepared, options=replace(prepared.options, wait_for_lease=0.3))
    refused = pytest.raises(UsageError, match=r"held by run run-0 \(host .* process \d+")
    with lease.acquire(prepared.output, "run-0", 0), refused:
        SegmentRun(waiting, segment=Actors(prepared, tmp_path)).run()


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (RayTaskError("f", "Traceback …", ValueError("v")), "error: "),
        (ConnectionError("the cluster at a:6379 is gone\nmore"), "error: the cluster at a:6379 is gone\n"),
        (TimeoutError(), "error: TimeoutError\n"),
    ],
)
def test_a_fault_of_ray_before_the_work_is_one_sentence(
    output: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, sentence: str
) -> None:
    def prepare(*_: object) -> None:
        raise error

    monkeypatch.setattr(run, "prepare", prepare)
    assert run.run(SegmentOptions("m.jsonl", output)) == 1
    said = capsys.readouterr().err
    assert said.startswith(sentence) and said.count("\n") == 1


def test_a_fault_of_the_program_leaves_the_output_in_order_and_shows_where_it_is(
    prepared: Prepared, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    actors = Actors(prepared, tmp_path, _raising(KeyError("oops")))
    assert SegmentRun(prepared, segment=actors).run() == 1
    assert "KeyError" in caplog.text and not storage.exists(actors.orphan)


def test_a_failed_run_ends_in_order_where_ray_has_no_switch_for_connecting_by_itself(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ray.shutdown", lambda: None)
    monkeypatch.delattr("ray._private.auto_init_hook")
    monkeypatch.setitem(sys.modules, "ray._private.auto_init_hook", None)
    reporting = replace(prepared, owns_ray=True, options=replace(prepared.options, report=True))
    actors = Actors(prepared, tmp_path, _raising(RuntimeError("r")))
    assert SegmentRun(reporting, segment=actors).run() == 1
    assert not storage.exists(actors.orphan)
    assert storage.exists(storage.join(prepared.run_folder, "report.html"))


def test_a_refused_retry_deletes_nothing(prepared: Prepared, tmp_path: Path) -> None:
    with lease.acquire(prepared.output, "run-0", 0):
        before = PartWriter(prepared.output, "s", run_id="run-0", config_hash="other", scratch=tmp_path)
        before.finish_clip(clip("a", "failed"), keep_rows=False)
        before.commit()
    retrying = replace(prepared, options=replace(prepared.options, retry_failed=True))
    with pytest.raises(UsageError, match="other.*clip a"):
        SegmentRun(retrying, segment=Actors(prepared, tmp_path)).run()
    assert indexed(prepared.output).hashes.hash_of("a") is not None


def test_an_unusable_setting_is_named_before_any_work(output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIAMMASK_STORAGE_RETRY_S", "soon")
    with pytest.raises(UsageError, match="SIAMMASK_STORAGE_RETRY_S is 'soon'"):
        run.run(SegmentOptions("m.jsonl", output))
