"""Columns that are kept, columns that are ignored, and what becomes of their types."""

import logging

import pyarrow as pa
import pytest

from tests.pipeline.manifest.manifest_files import (
    BOX,
    HEADER,
    problems,
    read,
    row,
    write_csv,
    write_lines,
    write_parquet,
)

pytestmark = pytest.mark.usefixtures("small_pieces")


@pytest.mark.parametrize("suffix", ["jsonl", "parquet", "csv"])
def test_one_warning_lists_unknown_columns(tmp_path, suffix, caplog):
    rows = [row(str(i), label="x", Notes=i) for i in range(3)]
    uri = tmp_path / f"m.{suffix}"
    if suffix == "csv":
        write_csv(uri, ["v.mp4,a,,,,,1,2,3,4,x,1"], f"{HEADER},label,Notes")
    else:
        (write_lines if suffix == "jsonl" else write_parquet)(uri, rows)
    with caplog.at_level(logging.WARNING):
        assert read(uri).summary.unknown_columns == ("Notes", "label")
    (record,) = caplog.records
    assert "Notes, label" in record.getMessage()


def test_unknown_fields_of_objects_are_listed(tmp_path):
    rows = [row(objects=[{"box": BOX, "label": "dog"}])]
    for uri in (write_lines(tmp_path / "m.jsonl", rows), write_parquet(tmp_path / "m.parquet", rows)):
        assert read(uri).summary.unknown_columns == ("objects.label",)


def test_kept_parquet_columns_keep_their_types(tmp_path):
    kinds = {
        "when": pa.timestamp("us", "UTC"),
        "day": pa.date32(),
        "small": pa.int16(),
        "name": pa.string(),
        "flag": pa.bool_(),
        "real": pa.float32(),
    }
    values = {"when": 1_700_000_000_000_000, "day": 19_000, "small": 3, "name": "x", "flag": True, "real": 0.5}
    table = pa.Table.from_pylist([row()])
    for name, kind in kinds.items():
        table = table.append_column(name, pa.array([values[name]], kind))
    manifest = read(write_parquet(tmp_path / "m.parquet", table), keep_columns=list(kinds))
    assert manifest.summary.kept == pa.schema(list(kinds.items()))
    (clip,) = manifest.clips()
    for name, kind in kinds.items():
        assert pa.array([clip.keep[name]], kind) == table[name].combine_chunks()


def test_kept_json_columns_get_the_type_of_their_values(tmp_path):
    rows = [row("a", n=1, x=1, s="x", t=True, none=None), row("b", n=2, x=0.5), row("c", s="y")]
    manifest = read(write_lines(tmp_path / "m.jsonl", rows), keep_columns=["n", "x", "s", "t", "none"])
    kinds = [("n", pa.int64()), ("x", pa.float64()), ("s", pa.string()), ("t", pa.bool_()), ("none", pa.string())]
    assert manifest.summary.kept == pa.schema(kinds)
    assert [clip.keep["n"] for clip in manifest.clips()] == [1, 2, None]


def test_kept_csv_columns_are_strings(tmp_path):
    manifest = read(write_csv(tmp_path / "m.csv", ["007,v.mp4,1,2,3,4"], "n,video_uri,x,y,w,h"), keep_columns=["n"])
    assert manifest.summary.kept == pa.schema([("n", pa.string())])
    assert next(manifest.clips()).keep == {"n": "007"}


@pytest.mark.parametrize(
    ("values", "row_number"),
    [([1, 2, "x"], 3), ([[1]], 1), ([None, {"a": 1}], 2), ([2**70], 1), ([1, True], 2), (["a", 0.5], 2)],
)
def test_kept_columns_that_cannot_be_kept(tmp_path, values, row_number):
    rows = [row(str(i), label=value) for i, value in enumerate(values)]
    uri = write_lines(tmp_path / "m.jsonl", rows)
    assert problems(uri, keep_columns=["label"]) == [("m.jsonl", row_number, "label")]


def test_kept_parquet_columns_that_cannot_be_kept(tmp_path):
    uri = write_parquet(tmp_path / "m.parquet", [row(label=b"x")])
    assert problems(uri, keep_columns=["label"]) == [("m.parquet", None, "label")]


@pytest.mark.parametrize("name", ["missing", "clip_id", "status"])
def test_columns_that_cannot_be_kept(tmp_path, name):
    uri = write_lines(tmp_path / "m.jsonl", [row(status="x")])
    assert problems(uri, keep_columns=[name], reserved=["status"]) == [("m.jsonl", None, name)]


def test_csv_columns_of_objects_cannot_be_kept(tmp_path):
    uri = write_csv(tmp_path / "m.csv", ["v.mp4,a,,,,,1,2,3,4"])
    assert problems(uri, keep_columns=["x"]) == [("m.csv", 1, "x")]


def test_kept_csv_columns_of_one_clip_agree(tmp_path):
    uri = write_csv(tmp_path / "m.csv", ["p,v.mp4,1,2,3,4", "q,v.mp4,1,2,3,4"], "n,video_uri,x,y,w,h")
    assert problems(uri, keep_columns=["n"]) == [("m.csv", 3, "n")]
