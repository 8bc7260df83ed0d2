"""What a run finds in an output, and what it mends there, on local files and a real S3 server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from pipeline import storage
from pipeline.output import lease, recovery
from pipeline.output.index import OutputIndex
from pipeline.output.names import masks_part_name
from pipeline.storage.settings import s3_client
from tests.conftest import S3Store
from tests.pipeline.output.output_parts import check_promise, feed, indexed, names, read, remove_orphans, writer


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
    assert remove_orphans(output) == recovery.Removed(masks_parts=1, clips_parts=0, unfinished=1)
    assert remove_orphans(output) == recovery.Removed(0, 0, 0)
    assert sorted(names(output, "masks") + names(output, "clips")) == sorted([*before, "notes.txt"])
    assert lease.held_by(output, "run-1")


def test_commits_that_lost_their_masks_or_repeat_a_clip_are_forgotten(
    output: str, tmp_path: Path, held: lease.Lease
) -> None:
    with writer(output, tmp_path) as one:
        for clip_id in ("a", "b"):
            feed(one, clip_id)
            one.commit()
    victim = next(row for row in read(output, "clips") if row["clip_id"] == "a")
    storage.delete_many([storage.join(output, "masks", victim["masks_part"])])
    copy = storage.read_bytes(storage.join(output, "clips", "part-s-0001.parquet"))
    storage.write_bytes(storage.join(output, "clips", "part-s-0002-failed.parquet"), copy)
    assert remove_orphans(output) == recovery.Removed(0, 2, 0)
    assert check_promise(output) == {"b": "ok"}


def test_cleaning_up_stops_in_time(output: str, tmp_path: Path, held: lease.Lease) -> None:
    with writer(output, tmp_path) as one:
        feed(one, "a")
        one.commit()
    storage.write_bytes(storage.join(output, "masks", masks_part_name("s")), b"orphan")
    assert recovery.remove_orphans(OutputIndex(output), until=time.monotonic()) == recovery.Removed(0, 0, 0)
    assert len(names(output, "masks")) == 2
    assert recovery.remove_orphans(OutputIndex(output), until=time.monotonic() + 60).masks_parts == 1
    assert check_promise(output) == {"a": "ok"}


def test_retrying_failed_clips(output: str, tmp_path: Path, held: lease.Lease) -> None:
    with writer(output, tmp_path) as one:
        for clip_id, status in (("a", "ok"), ("b", "partial"), ("c", "failed")):
            feed(one, clip_id, status)
        one.commit()
    of_c = indexed(output).parts["part-s-0002-failed.parquet"].digests
    assert recovery.forget_failed(indexed(output), lambda digests: digests != of_c) == recovery.Forgotten(1, 1)
    assert recovery.forget_failed(indexed(output), lambda digests: True) == recovery.Forgotten(1, 1)
    assert remove_orphans(output).masks_parts == 1
    assert check_promise(output) == {"a": "ok"}
    with writer(output, tmp_path, attempt=2) as again:
        assert again.committed_clips() == {"a"}
        feed(again, "b")
        feed(again, "c")
        assert again.commit() == 2
    assert check_promise(output) == {"a": "ok", "b": "ok", "c": "ok"}


def test_damaged_part_is_named(output: str, held: lease.Lease) -> None:
    storage.write_bytes(storage.join(output, "clips", "part-s-0000.parquet"), b"PAR1 not really")
    with pytest.raises(storage.StorageError, match=r"clips/part-s-0000\.parquet.*may be damaged"):
        indexed(output)


def test_a_clip_of_two_shards_keeps_one_row(output: str, tmp_path: Path, held: lease.Lease) -> None:
    """A shard's actor was cut off, the clip was run alone, and the actor committed after all."""
    with writer(output, tmp_path, "shard") as shard, writer(output, tmp_path, "alone-0123") as alone:
        feed(alone, "b", "failed")
        alone.commit()
        for clip_id in ("a", "b", "c"):
            feed(shard, clip_id)
        shard.commit()
    with writer(output, tmp_path, "other") as other:
        feed(other, "d")
        other.commit()
    assert remove_orphans(output) == recovery.Removed(masks_parts=0, clips_parts=1, unfinished=0)
    assert check_promise(output) == {"a": "ok", "b": "ok", "c": "ok", "d": "ok"}
    with writer(output, tmp_path, "wide") as wide:
        for clip_id in ("c", "d", "e"):
            feed(wide, clip_id)
        wide.commit()
    assert remove_orphans(output) == recovery.Removed(masks_parts=1, clips_parts=1, unfinished=0)
    assert check_promise(output) == {"a": "ok", "b": "ok", "c": "ok", "d": "ok"}


def test_a_store_that_does_not_list_uploads(
    s3_store: S3Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Roles may write without `s3:ListBucketMultipartUploads`; orphans are removed all the same."""
    output = s3_store.uri(f"parts/{tmp_path.name}")
    denied = {"Error": {"Code": "AccessDenied"}, "ResponseMetadata": {"HTTPStatusCode": 403}}

    class Denying:
        def paginate(self, **_: object) -> Denying:
            return self

        def __iter__(self) -> Iterator[dict[str, object]]:
            raise ClientError(denied, "ListMultipartUploads")

    with lease.acquire(output, "run-1", 0):
        storage.write_bytes(storage.join(output, "masks", masks_part_name("s")), b"orphan")
        monkeypatch.setattr(s3_client(storage.Settings()), "get_paginator", lambda _: Denying())
        assert remove_orphans(output) == recovery.Removed(1, 0, 0)
    assert "list uploads" in caplog.text
