"""Manifests read by Ray Data: the same clips and problems as in one process, from local files and from S3."""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import storage
from pipeline.manifest import ManifestError, files, read_manifest
from pipeline.plan.shards import plan_shards, read_plan, write_plan

BOX = [1.0, 2.0, 30.0, 40.0]
ROWS = [
    {"video_uri": f"videos/{i // 3}.mp4", "clip_id": f"{i:03d}", "end_frame": 10 + i, "objects": [{"box": BOX}]}
    for i in range(60)
]
TEXT = "".join(json.dumps(row) + "\n" for row in ROWS)


@pytest.fixture
def small_pieces(monkeypatch):
    """Many read tasks for few rows."""
    monkeypatch.setattr(files, "PIECE_BYTES", 1000)


@pytest.mark.usefixtures("ray_local", "small_pieces")
def test_ray_data_reads_what_one_process_reads(tmp_path):
    (tmp_path / "1.jsonl").write_text(TEXT)
    table = pa.Table.from_pylist([{**row, "clip_id": f"p{row['clip_id']}"} for row in ROWS])
    pq.write_table(table, tmp_path / "2.parquet", row_group_size=9)
    (tmp_path / "3.csv").write_text("video_uri,clip_id,x,y,w,h\nv.mp4,0007,1,2,3,4\nv.mp4,7,1,2,3,4\n")
    manifest = read_manifest(str(tmp_path))
    alone = read_manifest(str(tmp_path), in_process=True)
    assert manifest.summary == alone.summary
    assert list(manifest.clips()) == list(alone.clips())
    assert [row.place for rows in manifest.rows() for row in rows] == [
        row.place for rows in alone.rows() for row in rows
    ]


@pytest.mark.usefixtures("ray_local", "small_pieces")
def test_ray_data_names_rows_as_one_process_does(tmp_path):
    lines = TEXT.splitlines()
    lines[20] = lines[20].replace("30.0", "-30.0")
    lines[40] = "not JSON"
    lines[50] = lines[3]
    (tmp_path / "m.jsonl").write_text("\n".join(lines))
    with pytest.raises(ManifestError) as caught:
        read_manifest(str(tmp_path / "m.jsonl"))
    assert [(problem.row, problem.column) for problem in caught.value.problems] == [
        (21, "objects[0].box.w"),
        (41, ""),
    ]
    assert read_manifest(str(tmp_path / "m.jsonl"), limit=20).summary.clips == 20
    lines[20], lines[40] = lines[19].replace("019", "x"), ""
    (tmp_path / "m.jsonl").write_text("\n".join(lines))
    with pytest.raises(ManifestError) as caught:
        read_manifest(str(tmp_path / "m.jsonl"))
    assert [(problem.row, problem.column) for problem in caught.value.problems] == [(51, "clip_id")]
    assert "m.jsonl:4 has it" in str(caught.value)


@pytest.mark.usefixtures("ray_local")
def test_a_file_that_workers_cannot_read_is_named(tmp_path):
    path = tmp_path / "m.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS), path)
    data = bytearray(path.read_bytes())
    data[4 : len(data) // 2] = bytes(len(data) // 2 - 4)
    path.write_bytes(data)
    with pytest.raises((ManifestError, storage.StorageError), match=r"m\.parquet"):
        read_manifest(str(path))


@pytest.mark.usefixtures("ray_local", "small_pieces")
@pytest.mark.parametrize("suffix", ["jsonl", "parquet", "csv"])
def test_manifests_in_s3(s3_store, tmp_path, suffix):
    path = tmp_path / f"m.{suffix}"
    if suffix == "jsonl":
        path.write_text(TEXT)
    elif suffix == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path, row_group_size=9)
    else:
        lines = [f"{row['video_uri']},{row['clip_id']},{row['end_frame']},1,2,30,40\n" for row in ROWS]
        path.write_text("video_uri,clip_id,end_frame,x,y,w,h\n" + "".join(lines))
    storage.upload_file(path, s3_store.uri(f"sets/{suffix}/m.{suffix}"))
    local = list(read_manifest(str(path), in_process=True).clips())
    for uri in (f"sets/{suffix}/m.{suffix}", f"sets/{suffix}", f"sets/*/*.{suffix}"):
        found = list(read_manifest(s3_store.uri(uri)).clips())
        assert [clip.clip_hash for clip in found] == [clip.clip_hash for clip in local]
        assert found[0].video_location == s3_store.uri(f"sets/{suffix}/videos/0.mp4")


@pytest.mark.usefixtures("ray_local")
def test_a_plan_in_s3_is_a_dataset_of_shards(s3_store, tmp_path):
    (tmp_path / "m.jsonl").write_text(TEXT)
    manifest = read_manifest(str(tmp_path / "m.jsonl"))
    shards = list(
        plan_shards(
            (row for rows in manifest.rows() for row in rows),
            config_hash="x",
            clips_per_file=4,
            concurrent_calls=2,
            total_clips=manifest.summary.clips,
        )
    )
    plan = write_plan(shards, s3_store.uri("name=north/_runs/r/plan"))
    rows = read_plan(plan).take_all()
    assert sorted((row["name"], tuple(row["clips"]), row["n_clips"]) for row in rows) == sorted(
        (shard.name, shard.clips, len(shard.clips)) for shard in shards
    )
    assert sum(row["n_clips"] for row in rows) == plan.clips == 60


def million(path: Path) -> None:
    """A manifest of a million clips; that of line 777,778 has a box without area."""
    with open(path, "w") as file:
        for i in range(1_000_000):
            w = 0 if i == 777_777 else 30
            file.write(
                f'{{"video_uri":"videos/{i // 4:06d}.mp4","clip_id":"clip-{i:07d}","end_frame":{100 + i % 4},'
                f'"objects":[{{"object_id":"0","box":[10.5,20,{w},40]}}]}}\n'
            )


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("ray_local")
def test_one_bad_row_in_a_million_is_found_and_named(tmp_path, say):
    million(tmp_path / "m.jsonl")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.monotonic()
    with pytest.raises(ManifestError) as caught:
        read_manifest(str(tmp_path / "m.jsonl"))
    elapsed = time.monotonic() - begin
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    (problem,) = caught.value.problems
    assert (problem.row, problem.column) == (777_778, "objects[0].box.w")
    say(f"1,000,000 rows checked in {elapsed:.1f} s; the driver's peak grew by {grown:.0f} MiB")
    assert grown < 300


def test_checks_need_neither_ray_nor_torch():
    code = (
        "import sys, pipeline.clip, pipeline.manifest, pipeline.plan.shards;"
        "sys.exit(', '.join({'ray', 'torch'} & set(sys.modules)) or None)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3], timeout=120)
