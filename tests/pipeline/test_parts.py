"""The commit protocol on local files and a real S3 server: each clip one row, no masks part without a commit."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pycocotools.mask
import pytest

from pipeline import lease, recovery, storage, tables
from pipeline.part_names import masks_part_name
from pipeline.parts import PartWriter
from tests.conftest import S3Store
from tests.pipeline.output_rows import clip, track


@pytest.fixture(params=["local", "s3"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty output folder of each kind."""
    if request.param == "local":
        return str(tmp_path / "run")
    store: S3Store = request.getfixturevalue("s3_store")
    return store.uri(f"parts/{tmp_path.name}")


@pytest.fixture
def held(output: str) -> Iterator[lease.Lease]:
    """The lease of the output, held by run-1."""
    with lease.acquire(output, "run-1", 0) as one:
        yield one


def writer(output: str, scratch: Path, shard: str = "s", run_id: str = "run-1", **more: Any) -> PartWriter:
    return PartWriter(output, shard, run_id=run_id, config_hash="c0ffee", scratch=scratch, **more)


def feed(into: PartWriter, clip_id: str, status: str = "ok", frames: int = 3, **more: Any) -> None:
    into.add_rows(clip_id, track("1", frames))
    into.add_rows(clip_id, track("0", frames))
    into.finish_clip(clip(clip_id, status, **more), keep_rows=status != "failed")


def names(output: str, folder: str) -> list[str]:
    return sorted(storage.name(entry.uri) for entry in storage.list_files(output, f"{folder}/"))


def read(output: str, folder: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for entry in storage.list_files(output, f"{folder}/"):
        rows += pq.read_table(pa.BufferReader(storage.read_bytes(entry.uri))).to_pylist()
    return rows


def check_promise(output: str) -> dict[str, str]:
    """Status by clip, after checking what the specification promises of the two tables."""
    rows = read(output, "clips")
    by_clip = {row["clip_id"]: row for row in rows}
    assert len(by_clip) == len(rows), "a clip has two rows"
    in_parts: dict[str, set[str]] = {}
    for entry in storage.list_files(output, "masks/"):
        table = pq.read_table(pa.BufferReader(storage.read_bytes(entry.uri)))
        for clip_id in set(table["clip_id"].to_pylist()):
            in_parts.setdefault(clip_id, set()).add(storage.name(entry.uri))
    assert {i: {row["masks_part"]} for i, row in by_clip.items() if row["masks_part"]} == in_parts
    assert {row["masks_part"] is None for row in rows if row["status"] == "failed"} <= {True}
    return {row["clip_id"]: row["status"] for row in rows}


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
    assert recovery.remove_orphans(output) == recovery.Removed(1, 0, 0)
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


def test_other_tools_read_a_plain_glob(output: str, tmp_path: Path, held: lease.Lease, s3_store: S3Store) -> None:
    with writer(output, tmp_path) as one:
        for clip_id, status in (("a", "ok"), ("b", "partial"), ("c", "failed")):
            feed(one, clip_id, status)
        one.commit()
    local = output
    options: dict[str, Any] = {}
    if output.startswith("s3://"):
        local = str(tmp_path / "copy")
        for folder in ("masks", "clips"):
            (tmp_path / "copy" / folder).mkdir(parents=True)
            for entry in storage.list_files(output, f"{folder}/"):
                storage.download(entry.uri, tmp_path / "copy" / folder / storage.name(entry.uri))
        options["storage_options"] = {
            "aws_endpoint_url": s3_store.endpoint,
            "aws_access_key_id": s3_store.access_key,
            "aws_secret_access_key": s3_store.secret_key,
            "aws_region": "us-east-1",
            "aws_allow_http": "true",
        }
    assert polars.read_parquet(f"{output}/masks/*.parquet", **options).shape == (12, 11)
    assert polars.read_parquet(f"{output}/clips/*.parquet", **options)["status"].sort().to_list() == [
        "failed",
        "ok",
        "partial",
    ]
    joined = duckdb.sql(
        f"SELECT m.clip_id, m.mask, m.corners, m.bbox.w FROM read_parquet('{local}/masks/*.parquet',"
        f" filename=true) m JOIN '{local}/clips/*.parquet' c ON parse_filename(m.filename) = c.masks_part"
        " AND m.clip_id = c.clip_id"
    ).fetchall()
    assert len(joined) == 12 and len(joined[0][2]) == 8 and joined[0][3] == 20
    decoded = pycocotools.mask.decode(joined[0][1])
    assert decoded.shape == (48, 64) and decoded.sum() == 160
    statuses = duckdb.sql(f"SELECT status FROM '{local}/clips/*.parquet' ORDER BY status").fetchall()
    assert statuses == [("failed",), ("ok",), ("partial",)]


def test_finished_set(output: str, tmp_path: Path, held: lease.Lease) -> None:
    assert list(recovery.finished(output)) == []
    assert recovery.kept_columns(output) is None
    for shard in ("s1", "s2"):
        with writer(output, tmp_path, shard, keep_types={"label": pa.float64()}) as one:
            for status in tables.STATUSES:
                feed(one, f"{shard}-{status}", status)
            one.commit()
    found = recovery.finished(output)
    assert isinstance(found, Iterator)
    by_clip = {one.clip_id: one for one in found}
    assert sorted(by_clip) == sorted(f"{s}-{status}" for s in ("s1", "s2") for status in tables.STATUSES)
    one_clip = by_clip["s2-ok"]
    assert (one_clip.status, one_clip.clip_hash, one_clip.config_hash) == ("ok", "hash of s2-ok", "c0ffee")
    assert one_clip.masks_part in names(output, "masks")
    assert by_clip["s1-failed"].masks_part is None
    assert recovery.kept_columns(output) == {"label": pa.float64()}
    frames = [f for batch in recovery.clip_rows(output, ["frames"]) for f in batch.column(0).to_pylist()]
    assert frames == [3] * 6


def test_orphans_are_removed(output: str, tmp_path: Path, held: lease.Lease) -> None:
    """Killed between the masks part and the clips part, and in the middle of a write."""
    with writer(output, tmp_path) as one:
        feed(one, "a")
        one.commit()
        feed(one, "b", "failed")
        one.commit()
    before = names(output, "masks") + names(output, "clips")
    data = storage.read_bytes(storage.join(output, "masks", names(output, "masks")[0]))
    storage.write_bytes(storage.join(output, "masks", masks_part_name("s")), data)
    storage.write_bytes(storage.join(output, "masks", "notes.txt"), b"somebody's")
    at = storage.parse(output)
    if at.is_local:
        Path(at.key, "masks", ".part-s-0123456789ab.parquet.01ab23cd.tmp").write_bytes(b"half")
    else:
        import boto3

        boto3.client("s3").create_multipart_upload(Bucket=at.bucket, Key=f"{at.key}/masks/part-s-0123456789ab.parquet")
    assert recovery.remove_orphans(output) == recovery.Removed(masks_parts=1, clips_parts=0, unfinished=1)
    assert recovery.remove_orphans(output) == recovery.Removed(0, 0, 0)
    assert sorted(names(output, "masks") + names(output, "clips")) == sorted([*before, "notes.txt"])
    assert lease.held_by(output, "run-1")


def test_commits_that_lost_their_masks_or_repeat_a_clip_are_forgotten(
    output: str, tmp_path: Path, held: lease.Lease
) -> None:
    with writer(output, tmp_path) as one:
        for clip_id in ("a", "b"):
            feed(one, clip_id)
            one.commit()
    victim = next(one for one in recovery.finished(output) if one.clip_id == "a")
    assert victim.masks_part is not None
    storage.delete_many([storage.join(output, "masks", victim.masks_part)])
    copy = storage.read_bytes(storage.join(output, "clips", "part-s-0001.parquet"))
    storage.write_bytes(storage.join(output, "clips", "part-s-0002-failed.parquet"), copy)
    assert recovery.remove_orphans(output) == recovery.Removed(0, 2, 0)
    assert check_promise(output) == {"b": "ok"}


def test_cleaning_up_stops_in_time(output: str, tmp_path: Path, held: lease.Lease) -> None:
    with writer(output, tmp_path) as one:
        feed(one, "a")
        one.commit()
    storage.write_bytes(storage.join(output, "masks", masks_part_name("s")), b"orphan")
    assert recovery.remove_orphans(output, until=time.monotonic()) == recovery.Removed(0, 0, 0)
    assert len(names(output, "masks")) == 2
    assert recovery.remove_orphans(output, until=time.monotonic() + 60).masks_parts == 1
    assert check_promise(output) == {"a": "ok"}


def test_commit_under_way_is_withdrawn_by_the_fence(
    output: str, tmp_path: Path, held: lease.Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver cleans up while an actor is between its masks part and its clips part."""
    real = storage.create

    def late(uri: str, data: bytes, settings: storage.Settings | None = None) -> str | None:
        if "/clips/" in uri:
            assert held.fence()
            assert recovery.remove_orphans(output).masks_parts == 1
        return real(uri, data, settings)

    monkeypatch.setattr(storage, "create", late)
    with writer(output, tmp_path) as one:
        feed(one, "a")
        with pytest.raises(lease.LeaseLost):
            one.commit()
    assert names(output, "clips") == names(output, "masks") == []


def test_retrying_failed_clips(output: str, tmp_path: Path, held: lease.Lease) -> None:
    with writer(output, tmp_path) as one:
        for clip_id, status in (("a", "ok"), ("b", "partial"), ("c", "failed")):
            feed(one, clip_id, status)
        one.commit()
    assert recovery.forget_failed(output, lambda clips: "c" not in dict(clips)) == recovery.Forgotten(1, 1)
    assert recovery.forget_failed(output, lambda clips: True) == recovery.Forgotten(1, 1)
    assert recovery.remove_orphans(output).masks_parts == 1
    assert check_promise(output) == {"a": "ok"}
    with writer(output, tmp_path, attempt=2) as again:
        assert again.committed_clips() == {"a"}
        feed(again, "b")
        feed(again, "c")
        assert again.commit() == 2
    assert check_promise(output) == {"a": "ok", "b": "ok", "c": "ok"}


def test_damaged_part_is_named(output: str, held: lease.Lease) -> None:
    storage.write_bytes(storage.join(output, "clips", "part-s-0000.parquet"), b"PAR1 not really")
    with pytest.raises(storage.StorageError, match=r"clips/part-s-0000\.parquet"):
        list(recovery.finished(output))


def test_rows_carry_times_in_utc(tmp_path: Path) -> None:
    output = str(tmp_path / "run")
    with lease.acquire(output, "run-1", 0), writer(output, tmp_path) as one:
        feed(one, "a")
        one.commit()
    row = read(output, "clips")[0]
    assert isinstance(row["started_at"], datetime) and str(row["started_at"].tzinfo) == "UTC"
