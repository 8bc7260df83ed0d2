"""Folders, globs, empty files, and how far a limit reads."""

import pyarrow as pa
import pytest

from pipeline.manifest import ManifestError, files
from tests.pipeline.manifest.manifest_files import (
    BOX,
    clips,
    message,
    problems,
    read,
    row,
    write_csv,
    write_lines,
    write_parquet,
)

pytestmark = pytest.mark.usefixtures("small_pieces")


def test_rows_count_anew_in_each_file(tmp_path):
    for name in "ab":
        write_lines(tmp_path / "m" / f"{name}.jsonl", [row(f"{name}{i}") for i in range(5)] + ["bad"])
    assert problems(tmp_path / "m") == [("a.jsonl", 6, ""), ("b.jsonl", 6, "")]


def test_a_folder_holds_files_of_all_kinds(tmp_path):
    folder = tmp_path / "m"
    write_lines(folder / "2.jsonl", [row("b")])
    write_parquet(folder / "1.parquet", [row("a")])
    write_csv(folder / "3.csv", ["v.mp4,c,,,,,1,2,3,4"])
    write_lines(folder / "_ignored.jsonl", ["bad"])
    write_lines(folder / ".ignored.jsonl", ["bad"])
    write_lines(folder / "below" / "4.jsonl", ["bad"])
    (folder / "v.mp4").write_bytes(b"")
    manifest = read(folder)
    assert [clip.clip_id for clip in manifest.clips()] == ["a", "b", "c"]
    assert (manifest.summary.files, manifest.summary.clips, manifest.summary.objects) == (3, 3, 3)


def test_a_glob_at_any_depth_and_videos_beside_their_file(tmp_path):
    write_lines(tmp_path / "m1" / "a.jsonl", [row("a")])
    write_lines(tmp_path / "m2" / "b.jsonl", [row("b")])
    write_lines(tmp_path / "m2" / "b.json", [row("c")])
    found = clips(tmp_path / "**" / "*.jsonl")
    assert [clip.video_location for clip in found] == [f"{tmp_path}/m1/v.mp4", f"{tmp_path}/m2/v.mp4"]


def test_file_uris(tmp_path):
    write_lines(tmp_path / "my manifest.jsonl", [row("a")])
    assert [clip.clip_id for clip in clips(f"file://{tmp_path}/my%20manifest.jsonl")] == ["a"]


@pytest.mark.parametrize("name", ["missing.jsonl", "empty", "*.jsonl"])
def test_nothing_to_read(tmp_path, name):
    (tmp_path / "empty").mkdir()
    assert name in message(tmp_path / name)


@pytest.mark.parametrize("name", ["m.jsonl", "m.csv", "m.parquet"])
def test_an_empty_file(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    assert "got an empty file" in message(tmp_path / name)


def test_files_without_a_row(tmp_path):
    write_lines(tmp_path / "m.jsonl", ["", " "])
    write_csv(tmp_path / "m.csv", [])
    write_parquet(tmp_path / "m.parquet", pa.Table.from_pylist([row()]).slice(0, 0))
    for name in ("m.jsonl", "m.csv", "m.parquet"):
        assert "expected 1 clip or more, got none" in message(tmp_path / name)


def test_a_file_of_another_kind(tmp_path):
    (tmp_path / "m.txt").write_text("x")
    assert ".jsonl, .ndjson, .json, .parquet or .csv" in message(tmp_path / "m.txt")


@pytest.mark.parametrize("limit", [1, 2, 5, 9, 100])
@pytest.mark.parametrize("suffix", ["jsonl", "parquet", "csv"])
def test_limit_takes_the_first_clips(tmp_path, suffix, limit):
    uri = tmp_path / f"m.{suffix}"
    if suffix == "csv":
        write_csv(uri, [f"v.mp4,{i},0,10,,,1,2,3,4" for i in range(9)])
    else:
        rows = [row(str(i), start_frame=0, end_frame=10) for i in range(9)]
        (write_lines if suffix == "jsonl" else write_parquet)(uri, rows)
    manifest = read(uri, limit=limit)
    count = min(limit, 9)
    assert [clip.clip_id for clip in manifest.clips()] == [str(i) for i in range(count)]
    assert (manifest.summary.clips, manifest.summary.frames) == (count, 10 * count)


@pytest.mark.parametrize("limit", range(1, 13))
def test_limit_ends_anywhere_in_a_piece(tmp_path, monkeypatch, limit):
    monkeypatch.setattr(files, "PIECE_BYTES", 300)
    for name in "ab":
        write_lines(tmp_path / "m" / f"{name}.jsonl", [row(f"{name}{i}", end_frame=10) for i in range(6)])
    manifest = read(tmp_path / "m", limit=limit)
    assert (manifest.summary.clips, manifest.summary.frames, len(manifest.hashes)) == (limit, 10 * limit, limit)
    assert len(list(manifest.clips())) == limit


def test_limit_reads_no_further(tmp_path):
    uri = write_lines(tmp_path / "m.jsonl", [row("a"), row("b"), row("a"), "bad"])
    assert [clip.clip_id for clip in clips(uri, limit=2)] == ["a", "b"]
    assert problems(uri, limit=3) == [("m.jsonl", 3, "clip_id")]


def test_summary_counts_frames_and_open_clips(tmp_path):
    objects = [{"object_id": "x", "box": BOX}, {"object_id": "x", "init_frame": 9, "box": BOX}, {"box": BOX}]
    rows = [
        row("a", end_frame=10, objects=objects),
        row("b"),
        row("c", end_s=2.0),
        row("d", start_frame=7, end_frame=9),
    ]
    summary = read(write_lines(tmp_path / "m.jsonl", rows), stride=3).summary
    assert (summary.clips, summary.objects, summary.frames, summary.open_clips) == (4, 5, 4 + 1, 2)


@pytest.mark.parametrize(
    "rows", [[row("a")], [row("a"), row("c")], [row("a"), row("b", end_frame=3)], [row("a"), "bad"]]
)
def test_a_manifest_that_changes_after_the_check_is_refused(tmp_path, rows):
    manifest = read(write_lines(tmp_path / "m.jsonl", [row("a"), row("b")]))
    write_lines(tmp_path / "m.jsonl", rows)
    with pytest.raises(ManifestError, match=r"m\.jsonl"):
        list(manifest.rows())
