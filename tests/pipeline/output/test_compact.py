"""Merging small parts: the same rows in fewer files, and the tables right at whatever step it is cut off."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import storage
from pipeline.output import compact, lease, merge, recovery
from pipeline.output.compact import CompactOptions
from pipeline.output.schema import MASKS
from tests.pipeline.output.output_parts import check_promise, feed, indexed, names, read, remove_orphans, writer

STATUSES = {"ok": "ok", "late": "partial", "bad": "failed"}


def fill(output: str, scratch: Path, shards: int = 4, **more: Any) -> None:
    """Small parts of all statuses; their clips interleave by id."""
    with lease.acquire(output, "run-1", 0):
        for shard in range(shards):
            with writer(output, scratch, f"s{shard}", keep_types={"label": pa.int64()}) as one:
                for k, (name, status) in enumerate(STATUSES.items()):
                    for i in range(2):
                        feed(one, f"{name}-{i}-{shard}", status, frames=5 + k, label=10 * shard + i, **more)
                one.commit()


def content(output: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows of both tables, sorted, without what a merge may change."""
    clips = [{k: v for k, v in row.items() if k != "masks_part"} for row in read(output, "clips")]
    masks = read(output, "masks")
    masks.sort(key=lambda row: (row["clip_id"], row["object_id"], row["frame_index"]))
    return sorted(clips, key=lambda row: row["clip_id"]), masks


def joined(output: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The same as a reader sees it at any time: clips once each, mask rows by a semi-join on clip and part."""
    rows = read(output, "clips")
    keys = {(row["clip_id"], row["masks_part"]) for row in rows}
    clips: dict[str, dict[str, Any]] = {}
    for row in rows:
        seen = clips.setdefault(row["clip_id"], row)
        assert seen == row, "rows of one clip differ"
    masks = []
    for name in names(output, "masks"):
        table = pq.read_table(pa.BufferReader(storage.read_bytes(storage.join(output, "masks", name))))
        masks += [row for row in table.to_pylist() if (row["clip_id"], name) in keys]
    masks.sort(key=lambda row: (row["clip_id"], row["object_id"], row["frame_index"]))
    stripped = [{k: v for k, v in row.items() if k != "masks_part"} for row in clips.values()]
    return sorted(stripped, key=lambda row: row["clip_id"]), masks


def test_fewer_files_with_the_same_rows(output: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(output, tmp_path)
    before = content(output)
    assert compact.compact(CompactOptions(output, dry_run=True)) == 0
    assert "12 clips parts and 8 masks parts" in capsys.readouterr().out
    assert len(names(output, "clips")) == 12 and content(output) == before
    assert compact.compact(CompactOptions(output)) == 0
    assert "12 clips parts and 8 masks parts" in capsys.readouterr().out
    assert content(output) == before == joined(output)
    check_promise(output)
    endings = {name.split("-0000")[1] for name in names(output, "clips")}
    assert endings == {".parquet", "-partial.parquet", "-failed.parquet"}
    assert (len(names(output, "clips")), len(names(output, "masks"))) == (3, 2)
    assert compact.compact(CompactOptions(output)) == 0
    assert "0 clips parts and 0 masks parts" in capsys.readouterr().out
    lease.acquire(output, "run-2", 0).release()
    assert remove_orphans(output) == recovery.Removed(0, 0, 0)
    with lease.acquire(output, "run-2", 0):
        assert recovery.forget_failed(indexed(output), lambda digests: True).parts == 2
        remove_orphans(output)
    assert set(check_promise(output).values()) == {"ok"} and len(check_promise(output)) == 8


def test_merged_parts_are_written_as_others_are(tmp_path: Path) -> None:
    output = str(tmp_path / "run")
    fill(output, tmp_path)
    old = pq.ParquetFile(tmp_path / "run" / "masks" / names(output, "masks")[0])
    compact.compact(CompactOptions(output))
    for name in names(output, "masks"):
        file = pq.ParquetFile(tmp_path / "run" / "masks" / name)
        assert file.schema_arrow.equals(old.schema_arrow, check_metadata=True) and file.schema_arrow.equals(MASKS)
        assert file.metadata.metadata == old.metadata.metadata
        keys = [(row["clip_id"], row["object_id"], row["frame_index"]) for row in file.read().to_pylist()]
        assert keys == sorted(keys)
        new_group, old_group = file.metadata.row_group(0), old.metadata.row_group(0)
        assert new_group.sorting_columns == old_group.sorting_columns
        assert [new_group.column(i).encodings for i in range(new_group.num_columns)] == [
            old_group.column(i).encodings for i in range(old_group.num_columns)
        ]
    for name in names(output, "clips"):
        ids = pq.read_table(tmp_path / "run" / "clips" / name)["clip_id"].to_pylist()
        assert ids == sorted(ids)


def test_the_documented_query(tmp_path: Path) -> None:
    output = str(tmp_path / "run")
    fill(output, tmp_path)
    compact.compact(CompactOptions(output))
    text = Path("docs/tables.md").read_text()
    query = text[text.index("SELECT m.*") :].split("\n\n")[0].replace("out/", f"{output}/")
    assert len(duckdb.sql(query).fetchall()) == len(read(output, "masks")) == 8 * 10 + 8 * 12


def test_large_parts_stay(tmp_path: Path) -> None:
    output = str(tmp_path / "run")
    with lease.acquire(output, "run-1", 0):
        for clip_id, frames in (("a", 3), ("b", 1500), ("c", 3)):
            with writer(output, tmp_path, f"of-{clip_id}") as one:
                feed(one, clip_id, frames=frames)
                one.commit()

    def planned(target: int) -> list[str]:
        return ["".join(part.first for part in group) for group in compact.plan(output, target)]

    (group,) = compact.plan(output, 1 << 30)
    small, large, _ = (part.size for part in group)
    assert large > small + 1000
    target = small + large + 500
    assert (planned(target), planned(3 * large), planned(2 * small - 10)) == (["ac"], ["abc"], [])
    before = {row["clip_id"]: row["masks_part"] for row in read(output, "clips")}
    assert compact.compact(CompactOptions(output, target_bytes=target)) == 0
    after = {row["clip_id"]: row["masks_part"] for row in read(output, "clips")}
    assert after["b"] == before["b"] and after["a"] == after["c"] != before["a"]


def test_no_more_parts_at_once_than_files_can_be_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = str(tmp_path / "run")
    fill(output, tmp_path, shards=5)
    monkeypatch.setattr(compact, "MOST_PARTS", 2)
    before = content(output)
    assert [len(group) for group in compact.plan(output, 1 << 30)] == [2] * 6
    assert compact.compact(CompactOptions(output)) == 0
    assert len(names(output, "clips")) == 3, "merged parts are merged again"
    assert content(output) == before


class Killed(BaseException):
    """The process is gone: nothing after this runs, no clean-up either."""


def killed_after(steps: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let the process die after so many changes to the store; the list gets what was done."""
    done: list[str] = []

    def change(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            if len(done) >= steps:
                raise Killed
            answer = real(*args)
            done.append(name)
            return answer

        return call

    for name in ("upload_file", "create", "replace"):
        monkeypatch.setattr(storage, name, change(name, getattr(storage, name)))
    delete = change("delete", storage.delete_many)
    monkeypatch.setattr(storage, "delete_many", lambda uris, *rest: [delete([uri], *rest) for uri in uris])
    monkeypatch.setattr(storage, "write_bytes", change("write_bytes", storage.write_bytes))
    return done


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output with three ok parts and two failed ones."""
    folder = tmp_path_factory.mktemp("small")
    output = str(folder / "run")
    with lease.acquire(output, "run-1", 0):
        for shard in range(3):
            with writer(output, folder, f"s{shard}") as one:
                feed(one, f"b-{shard}")
                feed(one, f"a-{shard}")
                if shard:
                    feed(one, f"c-{shard}", "failed")
                one.commit()
    return folder / "run"


def _next_run(output: str) -> None:
    remove_orphans(output)


def _next_compaction(output: str) -> None:
    assert compact.compact(CompactOptions(output)) == 0
    assert len(names(output, "clips")) == 2


def _next_retry(output: str) -> None:
    assert recovery.forget_failed(indexed(output), lambda digests: True).attempt == 1
    remove_orphans(output)


@pytest.mark.parametrize("heal", [_next_run, _next_compaction, _next_retry])
def test_killed_at_every_step(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heal: Callable[[str], None]
) -> None:
    monkeypatch.setattr(merge, "_AT_ONCE", 1)
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # the machine goes on, and time matters
    for steps in itertools.count():
        output = str(shutil.copytree(small, tmp_path / str(steps)))
        expected = content(output)
        with monkeypatch.context() as patch:
            patch.setattr(lease.Lease, "release", lambda self: self._stop.set())  # the dead give nothing back
            done = killed_after(steps, patch)
            try:
                compact.compact(CompactOptions(output))
                ended = True
            except Killed:
                ended = False
        assert joined(output) == expected, f"after {done}"
        storage.delete_many([lease.lease_uri(output)])
        heal(output)
        if heal is _next_retry:
            expected = [row for row in expected[0] if row["status"] == "ok"], expected[1]
        assert content(output) == expected == joined(output), f"after {done}"
        check_promise(output)
        assert not storage.exists(merge.note_uri(output))
        if ended:
            break
    assert steps > 15, done
