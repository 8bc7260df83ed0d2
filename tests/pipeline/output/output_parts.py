"""Commits into an output folder, and what the specification promises of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.output import recovery
from pipeline.output.commit import PartWriter
from pipeline.output.index import OutputIndex
from tests.pipeline.output_rows import clip, track


def writer(output: str, scratch: Path, shard: str = "s", run_id: str = "run-1", **more: Any) -> PartWriter:
    return PartWriter(output, shard, run_id=run_id, config_hash="c0ffee", scratch=scratch, **more)


def feed(into: PartWriter, clip_id: str, status: str = "ok", frames: int = 3, **more: Any) -> None:
    into.add_rows(clip_id, track("1", frames))
    into.add_rows(clip_id, track("0", frames))
    into.finish_clip(clip(clip_id, status, **more), keep_rows=status != "failed")


def indexed(output: str) -> OutputIndex:
    """The index of an output as it is now."""
    index = OutputIndex(output)
    assert index.refresh()
    return index


def remove_orphans(output: str) -> recovery.Removed:
    """What the next run of an output removes."""
    return recovery.remove_orphans(OutputIndex(output))


def names(output: str, folder: str) -> list[str]:
    return sorted(storage.name(entry.uri) for entry in storage.list_files(output, f"{folder}/"))


def read(output: str, folder: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for entry in storage.glob(f"{output}/{folder}/*.parquet"):
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
