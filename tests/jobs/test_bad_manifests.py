"""Manifests that cannot be used: the job says what is wrong where, and has not touched the output."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.driver.run import run
from pipeline.errors import UsageError
from pipeline.plan.options import SegmentOptions

BOX = [1.0, 2.0, 30.0, 40.0]


def _row(**changes: Any) -> dict[str, Any]:
    return {"video_uri": "v.mp4", "objects": [{"box": BOX}], **changes}


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "another type": (_row(start_frame="10"), "start_frame"),
    "no video": ({"objects": [{"box": BOX}]}, "video_uri"),
    "no objects": ({"video_uri": "v.mp4"}, "objects"),
    "box without area": (_row(objects=[{"box": [1, 2, 0, 4]}]), "objects[0].box.w"),
    "box negative": (_row(objects=[{"box": [1, 2, 3, -4]}]), "objects[0].box.h"),
    "box NaN": (_row(objects=[{"box": [math.nan, 2, 3, 4]}]), "objects[0].box.x"),
    "range reversed": (_row(start_frame=9, end_frame=3), "end_frame"),
    "range empty": (_row(start_s=2.0, end_s=2.0), "end_s"),
    "seconds NaN": (_row(start_s=math.nan), "start_s"),
    "frames and seconds": (_row(start_frame=1, start_s=1.0), "start_s"),
    "id twice": (_row(clip_id="good-3"), "clip_id"),
    "id of a path": (_row(clip_id="../../x"), "clip_id"),
    "signed": (_row(video_uri="v.mp4?X-Amz-Signature=hunter2"), "video_uri"),
}


@pytest.fixture(scope="module")
def refused(ray_local: None) -> Callable[..., str]:
    """Runs the job on a manifest, which must be refused before any work; what it said."""

    def say(manifest: Path, **more: Any) -> str:
        output = manifest.parent / "out"
        with pytest.raises(UsageError) as error:
            run(SegmentOptions(str(manifest), str(output), **more))
        assert not [path for path in output.rglob("*") if path.is_file()]
        return str(error.value)

    return say


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_every_fault_is_named_at_once(refused: Callable[..., str], tmp_path: Path, kind: str) -> None:
    """Good rows before, between and after. Parquet has one type a column, so what types forbid is left out there."""
    faults = {name: fault for name, fault in FAULTS.items() if kind == "jsonl" or name != "another type"}
    # Doubled ids are looked for once all rows are good by themselves.
    twice = faults.pop("id twice")
    rows: list[dict[str, Any]] = []
    places: dict[int, str] = {}
    for name, (row, column) in faults.items():
        rows.append(_row(clip_id=f"good-{len(rows)}"))
        places[len(rows) + 1] = column
        rows.append({"clip_id": f"bad-{name.replace(' ', '-')}", **row})
    path = _write(tmp_path / f"m.{kind}", rows)
    said = refused(path)
    for row_number, column in places.items():
        place = f"m.jsonl:{row_number}" if kind == "jsonl" else f"m.parquet:row {row_number} (index {row_number - 1})"
        assert f"{place} {column}: expected" in said
    assert len(said.splitlines()) == len(places) and "hunter2" not in said
    good = [_row(clip_id=f"good-{i}") for i in range(6)]
    said = refused(_write(tmp_path / f"m.{kind}", [*good, twice[0]]))
    assert "clip_id: expected an id that no other clip has" in said and "m." in said and "good-3" in said


def _write(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".parquet":
        names = dict.fromkeys(name for row in rows for name in row)
        pq.write_table(pa.table({name: pa.array([row.get(name) for row in rows]) for name in names}), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_no_more_than_twenty_problems(refused: Callable[..., str], tmp_path: Path) -> None:
    said = refused(_write(tmp_path / "m.jsonl", [_row(clip_id=f"c{i}", end_frame=0) for i in range(100)]))
    lines = said.splitlines()
    assert [f"m.jsonl:{i + 1} end_frame" in line for i, line in enumerate(lines[:20])] == [True] * 20
    assert len(lines) == 21 and "first 20" in lines[-1]


@pytest.mark.parametrize("name", ["empty.jsonl", "folder", "absent.jsonl", "blank.csv", "notes.txt", "broken.parquet"])
def test_nothing_to_do(refused: Callable[..., str], tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "blank.csv").write_text("video_uri,object_id,x,y,w,h\n")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and then nothing PAR1")
    assert name in refused(tmp_path / name)


def test_one_bad_row_far_down_a_parquet_file(refused: Callable[..., str], tmp_path: Path) -> None:
    count, bad = 120_000, 77_777
    starts = pa.array([9 if i == bad else 0 for i in range(count)], pa.int64())
    table = pa.table(
        {
            "clip_id": pa.array([f"clip-{i}" for i in range(count)]),
            "video_uri": pa.array(["v.mp4"] * count),
            "start_frame": starts,
            "end_frame": pa.array([5] * count, pa.int64()),
            "objects": pa.array([[{"box": BOX}]] * count),
        }
    )
    pq.write_table(table, tmp_path / "m.parquet", row_group_size=50_000)
    said = refused(tmp_path / "m.parquet")
    assert f"m.parquet:row {bad + 1} (index {bad}) end_frame" in said and len(said.splitlines()) == 1
