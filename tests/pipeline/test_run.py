"""The end of a run: who may remove files, and that nothing half-done is left, whatever happened to the actors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import RayTaskError

from pipeline import lease, run, storage
from pipeline.lease import LeaseLost
from pipeline.manifest import ClipHashes
from pipeline.options import SegmentOptions, UsageError
from pipeline.part_names import masks_part_name
from pipeline.parts import PartWriter
from pipeline.prepare import finished_clips
from pipeline.recovery import finished
from tests.pipeline.output_rows import clip


@pytest.fixture
def output(tmp_path: Path) -> str:
    return str(tmp_path / "out")


@pytest.fixture
def job(output: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A run of which nothing but its own steps is real."""
    prepared = SimpleNamespace(
        output=output,
        run_id="run-1",
        options=SegmentOptions("m.jsonl", output, report=False),
        run_folder=storage.join(output, "_runs", "run-1"),
        manifest=SimpleNamespace(summary=SimpleNamespace(clips=1)),
        placement=SimpleNamespace(actors=SimpleNamespace(maximum=1), device="cpu"),
        owns_ray=False,
    )
    monkeypatch.setattr(run, "config", lambda prepared: {})
    monkeypatch.setattr(run, "finished_clips", lambda prepared, **_: (ClipHashes(), 1))
    monkeypatch.setattr(run, "FENCE_PAUSES_S", (0.0,))
    one = run._Run(prepared)  # type: ignore[arg-type]
    monkeypatch.setattr(one, "_conclude", lambda: 0)
    return one


def _orphan(output: str) -> str:
    uri = storage.join(output, "masks", masks_part_name("s"))
    storage.write_bytes(uri, b"rows of an attempt that was never committed")
    return uri


def _taken_over(output: str) -> None:
    other = lease.Holder("run-2", "elsewhere", 1, "now")
    storage.write_bytes(lease.lease_uri(output), other.to_json())


def test_what_an_actor_left_half_done_is_gone_when_the_run_ends(
    job: Any, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[str] = []
    monkeypatch.setattr(job, "_segment", lambda *_: left.append(_orphan(output)))
    assert job.go() == 0
    assert not storage.exists(left[0])


@pytest.mark.parametrize(
    "error", [RuntimeError("r"), LeaseLost("l"), storage.Unavailable("s3://b/k", "w", "c", "a"), KeyboardInterrupt("i")]
)
def test_a_run_that_lost_the_output_removes_nothing_from_it(
    job: Any, output: str, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    theirs: list[str] = []

    def segment(*_: object) -> None:
        theirs.append(_orphan(output))  # about to be committed by the other run
        _taken_over(output)
        raise error

    monkeypatch.setattr(job, "_segment", segment)
    assert job.go() == (130 if isinstance(error, KeyboardInterrupt) else 1)
    assert storage.exists(theirs[0])


@pytest.mark.parametrize("error", [RuntimeError("r"), storage.Unavailable("s3://b/k", "write", "c", "a")])
def test_a_failed_run_says_why_and_leaves_nothing_half_done(
    job: Any,
    output: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
) -> None:
    left: list[str] = []

    def segment(*_: object) -> None:
        left.append(_orphan(output))
        raise error

    monkeypatch.setattr(job, "_segment", segment)
    assert job.go() == 1
    assert f"error: {error}" in capsys.readouterr().err
    assert not storage.exists(left[0])


@pytest.mark.parametrize("error", [None, RuntimeError("r"), KeyboardInterrupt("i")])
def test_no_plan_stays_behind_neither_this_runs_nor_a_killed_ones(
    job: Any, output: str, monkeypatch: pytest.MonkeyPatch, error: BaseException | None
) -> None:
    plans = [storage.join(output, "_runs", run_id, "plan", "plan-000000.parquet") for run_id in ("run-0", "run-1")]
    kept = storage.join(output, "_runs", "run-0", "report.json")
    storage.write_bytes(plans[0], b"of a run that was killed")
    storage.write_bytes(kept, b"{}")

    def segment(*_: object) -> None:
        storage.write_bytes(plans[1], b"of this run")
        if error is not None:
            raise error

    monkeypatch.setattr(job, "_segment", segment)
    job.go()
    assert [uri for uri in plans if storage.exists(uri)] == []
    assert storage.exists(kept)


def test_a_second_run_is_refused_and_told_who_holds_the_output(job: Any, output: str) -> None:
    job._options = replace(job._options, wait_for_lease=0.3)
    with lease.acquire(output, "run-0", 0), pytest.raises(UsageError, match=r"held by run run-0 \(host .* process \d+"):
        job.go()


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
    job: Any, output: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    left: list[str] = []

    def segment(*_: object) -> None:
        left.append(_orphan(output))
        raise KeyError("oops")

    monkeypatch.setattr(job, "_segment", segment)
    assert job.go() == 1
    assert "KeyError" in caplog.text and not storage.exists(left[0])


def test_a_refused_retry_deletes_nothing(
    job: Any, output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lease.acquire(output, "run-0", 0):
        before = PartWriter(output, "s", run_id="run-0", config_hash="other", scratch=tmp_path)
        before.finish_clip(clip("a", "failed"), keep_rows=False)
        before.commit()
    job._prepared.config_hash = "ours"
    job._prepared.model = SimpleNamespace(name="m", digest="d" * 64)
    job._prepared.manifest.summary.kept = []
    job._options = replace(job._options, retry_failed=True)
    monkeypatch.setattr(run, "finished_clips", finished_clips)
    with pytest.raises(UsageError, match="other.*clip a"):
        job.go()
    assert [one.clip_id for one in finished(output)] == ["a"]


def test_an_unusable_setting_is_named_before_any_work(output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIAMMASK_STORAGE_RETRY_S", "soon")
    with pytest.raises(UsageError, match="SIAMMASK_STORAGE_RETRY_S is 'soon'"):
        run.run(SegmentOptions("m.jsonl", output))
