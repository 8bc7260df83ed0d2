"""The commit protocol on local files and a real S3 server: each clip one row, no masks part without a commit."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline import storage
from pipeline.output import lease, recovery
from pipeline.output.commit import PartWriter
from tests.pipeline.output.output_parts import check_promise, feed, names, read, remove_orphans, writer
from tests.pipeline.output_rows import clip, track


def test_commit(output: str, tmp_path: Path, held: lease.Lease) -> None:
    with writer(output, tmp_path, keep_types={"label": pa.int64()}) as one:
        feed(one, "b", label=4)
        feed(one, "a")
        feed(one, "late", "partial")
        feed(one, "bad", "failed")
        one.add_rows("unfinished", track("0", 5))
        assert names(output, "clips") == names(output, "masks") == []
        assert one.commit() == 4
        assert one.commit() == 0
        assert one.committed_clips() == {"a", "b", "late", "bad"}
    assert list(tmp_path.glob("part-*")) == []
    assert check_promise(output) == {"a": "ok", "b": "ok", "late": "partial", "bad": "failed"}
    clips = names(output, "clips")
    assert [name.split("-", 2)[2] for name in clips] == [
        "0000.parquet",
        "0001-partial.parquet",
        "0002-failed.parquet",
    ]
    assert len(names(output, "masks")) == 2
    row = next(row for row in read(output, "clips") if row["clip_id"] == "b")
    assert (row["run_id"], row["config_hash"], row["attempt"], row["label"]) == ("run-1", "c0ffee", 1, 4)
    keys = [(row["clip_id"], row["object_id"], row["frame_index"]) for row in read(output, "masks")]
    assert keys.index(("a", "0", 0)) + 6 == keys.index(("b", "0", 0)), "clips of a part are sorted"


def test_commits_of_a_shard_follow_each_other(output: str, tmp_path: Path, held: lease.Lease) -> None:
    with writer(output, tmp_path) as one:
        for i in range(3):
            feed(one, f"clip-{i}")
            assert one.commit() == 1
    assert names(output, "clips") == [f"part-s-{i:04d}.parquet" for i in range(3)]
    with writer(output, tmp_path, shard="s-0001") as other:
        assert other.committed_clips() == set()
    assert len(check_promise(output)) == 3


def test_all_failed_write_no_masks(output: str, tmp_path: Path, held: lease.Lease) -> None:
    with writer(output, tmp_path) as one:
        feed(one, "a", "failed")
        one.finish_clip(clip("b", "failed"), keep_rows=False)
        assert one.commit() == 2
    assert names(output, "masks") == []
    assert check_promise(output) == {"a": "failed", "b": "failed"}


def test_second_attempt_at_a_shard_commits_only_what_is_missing(output: str, tmp_path: Path, held: lease.Lease) -> None:
    with writer(output, tmp_path) as one, writer(output, tmp_path) as two:
        for attempt in (one, two):
            feed(attempt, "a")
            feed(attempt, "b", "failed" if attempt is two else "ok")
        feed(two, "c")
        assert one.commit() == 2
        assert two.commit() == 1
        assert two.commit() == 0
    assert check_promise(output) == {"a": "ok", "b": "ok", "c": "ok"}


def _stale(one: PartWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next look of this attempt is stale: it sees no part, as if taken before another's commit."""
    real, looks = one._listed, [0]

    def listed() -> list[Any]:
        looks[0] += 1
        return [] if looks[0] == 1 else real()

    monkeypatch.setattr(one, "_listed", listed)


@pytest.mark.parametrize("status", ["ok", "failed"])
def test_simultaneous_commits_have_one_winner(
    output: str, tmp_path: Path, held: lease.Lease, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    """The second attempt looked before the first committed: same name (ok) or another ending (failed)."""
    with writer(output, tmp_path) as one, writer(output, tmp_path) as two:
        feed(one, "a")
        feed(one, "b")
        feed(two, "a", status)
        feed(two, "c", status)
        _stale(two, monkeypatch)
        assert one.commit() == 2
        assert two.commit() == 1
    assert check_promise(output) == {"a": "ok", "b": "ok", "c": status}


def test_many_attempts_at_once(output: str, tmp_path: Path, held: lease.Lease) -> None:
    start = threading.Barrier(4)

    def attempt(i: int) -> int:
        with writer(output, tmp_path) as one:
            for clip_id in ("a", "b", "c", f"own-{i}"):
                feed(one, clip_id, ("ok", "failed", "partial")[(i + len(clip_id)) % 3])
            start.wait()
            return one.commit()

    with ThreadPoolExecutor(4) as pool:
        committed = list(pool.map(attempt, range(4)))
    assert sum(committed) == 7
    assert set(check_promise(output)) == {"a", "b", "c", "own-0", "own-1", "own-2", "own-3"}


def test_lost_lease_stops_the_commit(output: str, tmp_path: Path, held: lease.Lease) -> None:
    with writer(output, tmp_path) as one:
        feed(one, "a")
        held.release()
        with lease.acquire(output, "run-2", 0), pytest.raises(lease.LeaseLost, match="run-1"):
            one.commit()
    assert names(output, "clips") == names(output, "masks") == []


def test_lease_lost_during_the_put_withdraws_it(
    output: str, tmp_path: Path, held: lease.Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attempt is held up between its look at the lease and its put, for longer than the lease lives."""
    real = storage.create

    def late(uri: str, data: bytes, settings: storage.Settings | None = None) -> str | None:
        if "/clips/" in uri:
            held.release()
            lease.acquire(output, "run-2", 0).release()
        return real(uri, data, settings)

    monkeypatch.setattr(storage, "create", late)
    with writer(output, tmp_path) as one:
        feed(one, "a")
        with pytest.raises(lease.LeaseLost):
            one.commit()
    assert names(output, "clips") == names(output, "masks") == []


def test_lease_is_looked_at_before_every_try(
    output: str, tmp_path: Path, held: lease.Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(uri: str, data: bytes, settings: storage.Settings | None = None) -> str | None:
        held.release()
        raise storage.Unavailable(uri, "write", "SlowDown (HTTP 503)", "wait")

    monkeypatch.setattr(storage, "create", failing)
    with writer(output, tmp_path) as one:
        feed(one, "a")
        with pytest.raises(lease.LeaseLost):
            one.commit()
    assert names(output, "clips") == names(output, "masks") == []


def test_put_whose_answer_was_lost_counts(
    output: str, tmp_path: Path, held: lease.Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, tries = storage.create, []

    def flaky(uri: str, data: bytes, settings: storage.Settings | None = None) -> str | None:
        tries.append(uri)
        answer = real(uri, data, settings)
        if len(tries) == 1:
            raise storage.Unavailable(uri, "write", "ReadTimeoutError", "wait")
        return answer

    monkeypatch.setattr(storage, "create", flaky)
    with writer(output, tmp_path) as one:
        feed(one, "a")
        assert one.commit() == 1
    assert len(tries) == 2 and check_promise(output) == {"a": "ok"}


def test_failed_commit_can_be_repeated(
    output: str, tmp_path: Path, held: lease.Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIAMMASK_STORAGE_RETRY_S", "0")
    with writer(output, tmp_path) as one:
        feed(one, "a")
        with monkeypatch.context() as broken:

            def refuse(uri: str, *_: object) -> None:
                raise storage.Unavailable(uri, "write", "cut", "wait")

            broken.setattr(storage, "create", refuse)
            with pytest.raises(storage.Unavailable):
                one.commit()
        assert one.commit() == 1
    assert remove_orphans(output) == recovery.Removed(1, 0, 0)
    assert check_promise(output) == {"a": "ok"}


def test_lanes_finish_while_a_commit_runs(tmp_path: Path) -> None:
    output = str(tmp_path / "run")
    with lease.acquire(output, "run-1", 0), writer(output, tmp_path) as one:
        done = threading.Event()

        def commit() -> int:
            total = 0
            while not done.is_set():
                total += one.commit()
            return total + one.commit()

        def lane(k: int) -> None:
            for i in range(6):
                feed(one, f"c{k}-{i}")

        with ThreadPoolExecutor(5) as pool:
            committing = pool.submit(commit)
            lanes = [pool.submit(lane, k) for k in range(4)]
            for ended in lanes:
                ended.result()
            done.set()
            assert committing.result() == 24
    assert len(check_promise(output)) == 24


@pytest.mark.parametrize(
    ("row", "keep_rows", "message"),
    [
        (clip("a", "failed"), True, "clip a: 'failed' with keep_rows=True"),
        (clip("a"), False, "clip a: 'ok' with keep_rows=False"),
        (clip("a", colour=1), True, "no column 'colour'"),
    ],
)
def test_finishing_wrongly(tmp_path: Path, row: dict[str, Any], keep_rows: bool, message: str) -> None:
    with writer(str(tmp_path), tmp_path) as one, pytest.raises(ValueError, match=message):
        one.finish_clip(row, keep_rows=keep_rows)


def test_a_clip_is_finished_once(tmp_path: Path) -> None:
    with writer(str(tmp_path), tmp_path) as one:
        feed(one, "a")
        with pytest.raises(ValueError, match="a was finished twice"):
            one.finish_clip(clip("a"), keep_rows=True)
    with pytest.raises(ValueError, match="shard's name"):
        writer(str(tmp_path), tmp_path, shard="../x")


def test_commit_under_way_is_withdrawn_by_the_fence(
    output: str, tmp_path: Path, held: lease.Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver cleans up while an actor is between its masks part and its clips part."""
    real = storage.create

    def late(uri: str, data: bytes, settings: storage.Settings | None = None) -> str | None:
        if "/clips/" in uri:
            assert held.fence()
            assert remove_orphans(output).masks_parts == 1
        return real(uri, data, settings)

    monkeypatch.setattr(storage, "create", late)
    with writer(output, tmp_path) as one:
        feed(one, "a")
        with pytest.raises(lease.LeaseLost):
            one.commit()
    assert names(output, "clips") == names(output, "masks") == []
