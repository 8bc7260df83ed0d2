"""The index of an output: what it knows, that it stays current, and that it asks the store for each part once."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from pipeline import storage
from pipeline.clip_hashes import ABSENT, SAME, digest
from pipeline.output import lease, recovery
from pipeline.output.index import OutputIndex
from pipeline.output.names import ClipsPart
from pipeline.output.parts import list_parts
from pipeline.output.schema import STATUSES
from pipeline.plan.todo import finished_clips
from pipeline.report import FigureReader, RunFacts, collect
from tests.pipeline.output.counting import Requests, requests
from tests.pipeline.output.output_parts import check_promise, feed, indexed, names, writer
from tests.pipeline.output_rows import clip

__all__ = ["requests"]


def _commit(output: str, scratch: Path, shard: str, clips: dict[str, str], **more: Any) -> None:
    with writer(output, scratch, shard, **more) as parts:
        for clip_id, status in clips.items():
            feed(parts, clip_id, status)
        parts.commit()


def _all_statuses(shard: str) -> dict[str, str]:
    return {f"{shard}-{status}": status for status in STATUSES}


def _prepared(output: str, clips: int) -> Any:
    """As much of a run as `finished_clips` looks at; its manifest has none of the output's clips changed."""
    manifest = SimpleNamespace(
        summary=SimpleNamespace(kept=[], clips=clips),
        hashes=SimpleNamespace(tally=lambda done: (clips - len(done), len(done), 0)),
    )
    model = SimpleNamespace(name="m", digest="d" * 64)
    options = SimpleNamespace(stride=1, rotated_box="mbr")
    return SimpleNamespace(output=output, manifest=manifest, config_hash="c0ffee", model=model, options=options)


def test_an_index_tells_what_is_finished(output: str, tmp_path: Path, held: lease.Lease) -> None:
    assert len(indexed(output).hashes) == 0 and indexed(output).kept_columns is None
    for shard in ("s1", "s2"):
        with writer(output, tmp_path, shard, keep_types={"label": pa.float64()}) as parts:
            for clip_id, status in _all_statuses(shard).items():
                feed(parts, clip_id, status)
            parts.commit()
    index = indexed(output)
    assert len(index.hashes) == 6 and index.kept_columns == {"label": pa.float64()}
    known = digest("s2-ok", clip("s2-ok")["clip_hash"])
    assert list(index.hashes.compare(known + digest("s3-ok", "00" * 6))) == [SAME, ABSENT]
    assert {part.origin.config_hashes for part in index.parts.values()} == {("c0ffee",)}
    assert [name for name, _ in index.of_status("failed")] == [f"part-s{n}-0002-failed.parquet" for n in (1, 2)]
    assert index.parts["part-s1-0002-failed.parquet"].masks == ()
    (masks,) = index.parts["part-s2-0000.parquet"].masks
    assert masks in names(output, "masks")


def test_an_index_follows_what_is_added_changed_and_removed(output: str, tmp_path: Path, held: lease.Lease) -> None:
    _commit(output, tmp_path, "s1", {"a": "ok", "b": "failed"})
    index = indexed(output)
    _commit(output, tmp_path, "s2", {"c": "ok"})
    assert index.refresh() and len(index.hashes) == 3
    storage.delete_many([storage.join(output, "clips", "part-s1-0001-failed.parquet")])
    # Withdrawn, and the name taken by another attempt at the same clip: rows of the same size, another masks part.
    before = index.parts["part-s2-0000.parquet"].masks
    storage.delete_many([storage.join(output, "clips", "part-s2-0000.parquet")])
    _commit(output, tmp_path, "s2", {"c": "ok"})
    assert index.refresh() and len(index.hashes) == 2
    assert index.parts["part-s2-0000.parquet"].masks != before
    assert recovery.remove_orphans(index) == recovery.Removed(1, 0, 0)
    assert check_promise(output) == {"a": "ok", "c": "ok"}


def test_a_run_with_nothing_to_do_reads_each_part_once(
    output: str, tmp_path: Path, held: lease.Lease, requests: Requests
) -> None:
    """The steps of a resumed run, from its checks to its report."""
    for shard in ("s1", "s2", "s3"):
        _commit(output, tmp_path, shard, _all_statuses(shard))
    requests.clear()
    reader = FigureReader("run-2", shown=4)
    index = OutputIndex(output, reader)
    index.refresh()
    finished_clips(_prepared(output, 9), index)
    recovery.remove_orphans(index)
    done, left = finished_clips(_prepared(output, 9), index)
    assert (len(done), left) == (9, 0)
    figures = reader.figures(index, RunFacts("run-2"))
    assert figures.clips["total"] == 9 and len(figures.sample.clips) == 4
    assert {storage.name(uri) for uri in requests.reads if "/clips/" in uri} == set(names(output, "clips"))
    assert requests.most_reads("clips") == 1
    assert requests.listings["clips/"] == 3  # twice by the steps, once by this test


def test_a_run_that_works_reads_old_and_new_parts_once(
    output: str, tmp_path: Path, held: lease.Lease, requests: Requests
) -> None:
    """Failed clips are forgotten, run again in two rounds, and reported."""
    _commit(output, tmp_path, "s1", _all_statuses("s1"))
    requests.clear()
    reader = FigureReader("run-1", shown=8)
    index = OutputIndex(output, reader)
    index.refresh()
    assert recovery.forget_failed(index, lambda digests: True) == recovery.Forgotten(2, 1)
    recovery.remove_orphans(index)
    assert requests.most_reads("clips") == 1
    requests.clear()
    _commit(output, tmp_path, "s2", {"s1-partial": "ok"}, attempt=2)
    index.refresh()
    _commit(output, tmp_path, "s3", {"s1-failed": "failed"}, attempt=2)
    requests.clear()  # the commits above looked too
    index.refresh()
    recovery.remove_orphans(index)
    done, left = finished_clips(_prepared(output, 3), index)
    assert (len(done), left) == (3, 0)
    figures = reader.figures(index, RunFacts("run-1"))
    assert [uri.rpartition("/")[2] for uri in requests.reads if "/clips/" in uri] == ["part-s3-0000-failed.parquet"]
    assert figures.to_dict() == collect(output, RunFacts("run-1"), 8).to_dict()
    assert figures.clips == {"total": 3, "ok": 2, "partial": 0, "failed": 1, "this_run": 3}
    assert [row["attempt"] for row in _rows_of(output, "s1-failed")] == [2]


def _rows_of(output: str, clip_id: str) -> list[dict[str, Any]]:
    from tests.pipeline.output.output_parts import read

    return [row for row in read(output, "clips") if row["clip_id"] == clip_id]


def test_figures_leave_out_what_was_removed_after_it_was_read(output: str, tmp_path: Path, held: lease.Lease) -> None:
    """A part is given up since it repeats a clip, a failed one stays since its clips are not run again."""
    _commit(output, tmp_path, "shard", {"a": "ok", "b": "ok", "x": "failed"})
    _commit(output, tmp_path, "alone", {"b": "ok", "y": "failed"})
    reader = FigureReader("run-1", shown=8)
    index = OutputIndex(output, reader)
    index.refresh()
    of_x = index.parts["part-shard-0001-failed.parquet"].digests
    assert recovery.forget_failed(index, lambda digests: digests != of_x).parts == 1
    assert recovery.remove_orphans(index).clips_parts == 1
    figures = reader.figures(index, RunFacts("run-1"))
    assert figures.clips == {"total": 3, "ok": 2, "partial": 0, "failed": 1, "this_run": 3}
    assert [row["clip_id"] for row in figures.sample.clips] == ["a", "b", "x"]
    assert [(group.type, group.clips) for group in figures.failures] == [("InvalidData", 1)]


def test_a_part_that_is_withdrawn_while_it_is_read_is_not_there(
    output: str, tmp_path: Path, held: lease.Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    _commit(output, tmp_path, "s1", {"a": "ok", "b": "failed"})
    listed = list_parts(output)
    storage.delete_many([listed[1].entry.uri])
    monkeypatch.setattr("pipeline.output.index.list_parts", lambda _: listed)
    assert list(indexed(output).parts) == ["part-s1-0000.parquet"]


def test_ten_million_clips_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """About 1 KB for a part of 33 clips: 300,000 of them stay far below 1 GB."""
    output, shards = str(tmp_path / "out"), 60
    with lease.acquire(output, "run-1", 0), writer(output, tmp_path, "0" * 16) as parts:
        for i in range(33):
            feed(parts, f"videos/2024/a-clip-of-a-usual-name-{i:06d}", frames=1)
        parts.commit()
    first = tmp_path / "out" / "clips" / f"part-{'0' * 16}-0000.parquet"
    for shard in range(1, shards):
        os.link(first, first.with_name(ClipsPart(f"{shard:016x}", 0, "ok").name))
    indexed(output)  # what is loaded and shared by the first
    tracemalloc.start()
    try:
        index = indexed(output)
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(index.parts) == shards and held / shards < 1_500
