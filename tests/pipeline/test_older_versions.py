"""Outputs that an earlier version wrote: read, exported and reported on as before, and never added to."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pycocotools import mask as coco

from pipeline.errors import UsageError
from pipeline.export.job import export_run
from pipeline.export.options import ExportOptions
from pipeline.output import lease
from pipeline.output.compact import CompactOptions, compact
from pipeline.output.schema import VERSION
from pipeline.plan.options import SegmentOptions
from pipeline.plan.todo import finished_clips
from pipeline.reading import NoSuchObject, open_run
from pipeline.report.__main__ import remake
from tests.conftest import ROOT
from tests.pipeline.output.output_parts import feed, indexed, writer

DATA = ROOT / "tests" / "data" / "output-0.1.0"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A copy of the output of version 0.1.0."""
    return Path(shutil.copytree(DATA, tmp_path / "old"))


def _prepared(output: Path) -> Any:
    """A run with the settings and the manifest that the output was made with."""
    return SimpleNamespace(
        output=str(output),
        config_hash=json.loads(next(output.glob("_runs/*/config.json")).read_text())["config_hash"],
        options=SegmentOptions("manifest.jsonl", str(output)),
        manifest=SimpleNamespace(
            summary=SimpleNamespace(kept=pa.schema({"label": pa.string()}), clips=2),
            hashes=SimpleNamespace(tally=lambda done: (0, 2, 0)),
        ),
    )


def test_the_version_in_parts_is_that_of_the_package() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == VERSION


def test_an_output_of_0_1_0_is_read(old: Path) -> None:
    run = open_run(str(old))
    clips = {row["clip_id"]: row for row in run.clips().arrow().to_pylist()}
    assert {clip_id: (row["status"], row["label"]) for clip_id, row in clips.items()} == {
        "square": ("ok", "a square"),
        "absent": ("failed", "no video"),
    }
    rows = run.masks(clip_id="square").arrow().to_pylist()
    assert [row["frame_index"] for row in rows] == [0, 1, 2, 3]
    assert {row["object_id"] for row in rows} == {"red"} and len(rows[0]["corners"]) == 8
    mask = coco.decode({"size": rows[0]["mask"]["size"], "counts": rows[0]["mask"]["counts"].encode()})
    assert mask.shape == (64, 96) and mask.sum() == rows[0]["area"] > 0
    assert run.masks(object_id="red").count() == run.masks(object_id="red", clip_id=["square", "absent"]).count() == 4
    with pytest.raises(NoSuchObject, match="'blue' in the clip.* 'square': there are 'red'"):
        run.masks(object_id="blue", clip_id="square")


def test_an_output_of_0_1_0_is_exported(old: Path, tmp_path: Path) -> None:
    assert export_run(ExportOptions(str(old), str(tmp_path / "coco"), "coco")) == 0
    (document,) = (json.loads(path.read_text()) for path in (tmp_path / "coco").glob("*.json"))
    assert len(document["images"]) == len(document["annotations"]) == 4


def test_an_output_of_0_1_0_is_reported_on(old: Path) -> None:
    page = Path(remake(str(old), None, 0, None))
    report = json.loads((page.parent / "report.json").read_text())
    assert report["clips"] == {"total": 2, "ok": 1, "partial": 0, "failed": 1, "this_run": 2}
    assert (report["track_frames"], report["failures"][0]["type"]) == (4, "NotFound")


def test_resuming_into_an_output_of_0_1_0_is_refused_with_both_versions(old: Path) -> None:
    with pytest.raises(UsageError, match=rf"old was written by version 0\.1\.0, this is version {VERSION}"):
        finished_clips(_prepared(old), indexed(str(old)))


def test_compaction_keeps_the_version(old: Path) -> None:
    (part,) = old.glob("masks/*.parquet")
    copy = part.with_name(part.name.replace("42ac8d854ba1", "0123456789ab"))
    table = pq.read_table(part)
    renamed = pa.array(["twin"] * len(table))
    pq.write_table(table.set_column(0, table.schema.field("clip_id"), renamed), copy)
    clips = next(path for path in old.glob("clips/*.parquet") if "failed" not in path.name)
    row = {**pq.read_table(clips).to_pylist()[0], "clip_id": "twin", "masks_part": copy.name}
    pq.write_table(pa.Table.from_pylist([row], pq.read_schema(clips)), clips.with_name("part-twin-0000.parquet"))
    assert compact(CompactOptions(str(old))) == 0
    assert {part.origin.version for part in indexed(str(old)).parts.values()} == {"0.1.0"}
    assert len(indexed(str(old)).parts) == 2 and open_run(str(old)).masks(clip_id="twin").arrow().num_rows == 4


def test_every_part_names_version_run_and_configuration(tmp_path: Path) -> None:
    output = str(tmp_path / "out")
    for run_id in ("run-1", "run-2"):
        with lease.acquire(output, run_id, 0), writer(output, tmp_path, f"s-{run_id}", run_id=run_id) as parts:
            feed(parts, run_id)
            feed(parts, f"{run_id}-failed", "failed")
            parts.commit()

    def metadata() -> dict[str, dict[bytes, bytes]]:
        return {path.name: pq.read_schema(path).metadata for path in (tmp_path / "out").glob("*/*.parquet")}

    def named(run_id: str) -> dict[bytes, bytes]:
        return {
            b"siammask_batch.version": VERSION.encode(), b"run_id": run_id.encode(), b"config_hash": b"c0ffee"
        }  # fmt: skip

    assert len(metadata()) == 6
    assert all(found == named("-".join(name.split("-")[2:4])) for name, found in metadata().items())
    assert {part.origin.version for part in indexed(output).parts.values()} == {VERSION}
    assert compact(CompactOptions(output)) == 0
    assert len(metadata()) == 3 and all(found == named("run-1,run-2") for found in metadata().values())
