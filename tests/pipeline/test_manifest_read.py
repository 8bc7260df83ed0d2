"""Whole manifests: files, rows and columns named; JSON Lines, Parquet and CSV; folders and globs."""

import csv
import json
import logging

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.manifest import ManifestError, files, read_manifest
from pipeline.storage import StorageError

BOX = [1.0, 2.0, 30.0, 40.0]
HEADER = "video_uri,clip_id,start_frame,end_frame,object_id,init_frame,x,y,w,h"


def row(clip_id="a", **changes):
    return {"video_uri": "v.mp4", "clip_id": clip_id, "objects": [{"box": BOX}], **changes}


def write_lines(path, rows):
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{item if isinstance(item, str) else json.dumps(item)}\n" for item in rows))
    return str(path)


def write_parquet(path, rows, **options):
    pq.write_table(rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows), path, **options)
    return str(path)


def write_csv(path, lines, header=HEADER):
    path.write_text("\n".join([header, *lines]) + "\n")
    return str(path)


def read(uri, **options):
    return read_manifest(str(uri), in_process=True, **options)


def clips(uri, **options):
    return list(read(uri, **options).clips())


def problems(uri, **options):
    """(file name, row, column) of each problem."""
    with pytest.raises(ManifestError) as caught:
        read(uri, **options)
    found = caught.value.problems
    for problem in found:
        assert str(problem) in str(caught.value)
    return [(problem.file.rsplit("/", 1)[-1], problem.row, problem.column) for problem in found]


def message(uri, **options):
    with pytest.raises(ManifestError) as caught:
        read(uri, **options)
    return str(caught.value)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    """Files of a few rows are cut into many pieces, as large ones are."""
    monkeypatch.setattr(files, "PIECE_BYTES", 97)


# JSON Lines


@pytest.mark.parametrize("suffix", ["jsonl", "ndjson", "json", "JSONL"])
def test_json_lines_by_any_of_their_names(tmp_path, suffix):
    uri = write_lines(tmp_path / f"m.{suffix}", [row("007"), row("b")])
    assert [clip.clip_id for clip in clips(uri)] == ["007", "b"]


def test_lines_are_found_wherever_a_file_is_cut(tmp_path, monkeypatch):
    names = [f"c{'x' * (7 * i % 23)}-{i}" for i in range(40)]
    uri = write_lines(tmp_path / "m.jsonl", [item for name in names for item in (row(name), "")])
    for size in range(60, 200, 7):
        monkeypatch.setattr(files, "PIECE_BYTES", size)
        rows = [item for batch in read(uri).rows() for item in batch]
        assert [item.clip_id for item in rows] == names
        assert [item.row for item in rows] == list(range(1, 81, 2))


def test_line_ends_marks_and_blank_lines(tmp_path):
    text = "\ufeff" + json.dumps(row("a")) + "\r\n\r\n   \r\n" + json.dumps(row("b"))
    (tmp_path / "m.jsonl").write_bytes(text.encode())
    assert [clip.clip_id for clip in clips(tmp_path / "m.jsonl")] == ["a", "b"]


def test_characters_that_other_readers_take_for_line_ends(tmp_path):
    name = "a\u2028b\u0085c.mp4"
    line = json.dumps(row(video_uri=name), ensure_ascii=False)
    assert clips(write_lines(tmp_path / "m.jsonl", [line]))[0].video_uri == name


@pytest.mark.parametrize(
    "line",
    ["{", "nothing", "[1]", "7", '{"video_uri": "v.mp4"', "[" * 100_000, json.dumps([row()])],
    ids=["open", "word", "list", "number", "cut", "deep", "array"],
)
def test_a_line_that_is_no_json_object(tmp_path, line):
    uri = write_lines(tmp_path / "m.jsonl", [row("a"), line, row("b")])
    assert problems(uri) == [("m.jsonl", 2, "")]


def test_bytes_that_are_no_utf8(tmp_path):
    good = json.dumps(row()).encode()
    (tmp_path / "m.jsonl").write_bytes(good + b"\n" + good.replace(b"v.mp4", b"\xff.mp4"))
    assert problems(tmp_path / "m.jsonl") == [("m.jsonl", 2, "")]


def test_rows_are_named_far_into_a_file(tmp_path):
    rows = [row(str(i)) for i in range(200)]
    rows[150]["objects"][0]["box"] = [1, 2, 0, 4]
    rows[170]["start_frame"] = -1
    uri = write_lines(tmp_path / "m.jsonl", rows)
    assert problems(uri) == [("m.jsonl", 151, "objects[0].box.w"), ("m.jsonl", 171, "start_frame")]
    assert f"{uri}:151 objects[0].box.w: expected a width above 0, got 0" in message(uri)


def test_no_more_than_twenty_problems_in_the_order_of_the_rows(tmp_path):
    uri = write_lines(tmp_path / "m.jsonl", [row(str(i), start_frame=-1) for i in range(30)])
    assert problems(uri) == [("m.jsonl", i, "start_frame") for i in range(1, 21)]
    assert "there may be more" in message(uri)


def test_rows_count_anew_in_each_file(tmp_path):
    for name in "ab":
        write_lines(tmp_path / "m" / f"{name}.jsonl", [row(f"{name}{i}") for i in range(5)] + ["bad"])
    assert problems(tmp_path / "m") == [("a.jsonl", 6, ""), ("b.jsonl", 6, "")]


# ids


def test_a_doubled_id_names_both_rows(tmp_path):
    write_lines(tmp_path / "m" / "1.jsonl", [row("a"), row("b"), row("a")])
    write_lines(tmp_path / "m" / "2.jsonl", [row("c"), row("b", video_uri="other.mp4")])
    assert problems(tmp_path / "m") == [("1.jsonl", 3, "clip_id"), ("2.jsonl", 2, "clip_id")]
    text = message(tmp_path / "m")
    assert "1.jsonl:1 has it), got 'a'" in text
    assert "1.jsonl:2 has it), got 'b'" in text


def test_doubled_default_ids(tmp_path):
    uri = write_lines(tmp_path / "m.jsonl", [row(None), row(None, start_frame=1), row(None)])
    assert problems(uri) == [("m.jsonl", 3, "clip_id")]


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_ids_that_are_numbers_are_refused(tmp_path, suffix):
    uri, write = tmp_path / f"m.{suffix}", write_lines if suffix == "jsonl" else write_parquet
    write(uri, [row(7)])
    assert [column for *_, column in problems(uri)] == ["clip_id"]
    write(uri, [row(objects=[{"object_id": 7, "box": BOX}])])
    assert problems(uri)[0][2].endswith(".object_id")


# Parquet


def test_parquet_rows(tmp_path):
    rows = [row(f"{i:03d}", start_frame=i, objects=[{"object_id": "07", "box": BOX}]) for i in range(50)]
    uri = write_parquet(tmp_path / "m.parquet", rows, row_group_size=7)
    found = clips(uri)
    assert [clip.clip_id for clip in found] == [f"{i:03d}" for i in range(50)]
    assert found[9].start_frame == 9
    assert found[9].objects[0].object_id == "07"
    assert found == clips(write_lines(tmp_path / "m.jsonl", rows))


def test_parquet_rows_are_named_with_number_and_index(tmp_path):
    rows = [row(str(i), start_s=1.0) for i in range(50)]
    rows[30]["start_s"] = float("nan")
    uri = write_parquet(tmp_path / "m.parquet", rows, row_group_size=7)
    assert problems(uri) == [("m.parquet", 31, "start_s")]
    assert "m.parquet:row 31 (index 30) start_s: expected a finite number, got nan" in message(uri)


@pytest.mark.parametrize(
    ("changes", "column"),
    [
        ({"clip_id": pa.array([1])}, "clip_id"),
        ({"clip_id": pa.array([b"a"])}, "clip_id"),
        ({"video_uri": pa.array([1.5])}, "video_uri"),
        ({"start_frame": pa.array([1.0])}, "start_frame"),
        ({"end_s": pa.array(["1"])}, "end_s"),
        ({"objects": pa.array(["[]"])}, "objects"),
        ({"objects": pa.array([[1.0]])}, "objects"),
        ({"objects": pa.array([[{"box": "1,2,3,4"}]])}, "objects.box"),
        ({"objects": pa.array([[{"box": BOX, "init_frame": 1.0}]])}, "objects.init_frame"),
        ({"objects": pa.array([[{"mask": {"size": [1, 2], "counts": b"11"}}]])}, "objects.mask"),
    ],
)
def test_parquet_columns_of_another_type(tmp_path, changes, column):
    columns = {"video_uri": pa.array(["v.mp4"]), "objects": pa.array([[{"box": BOX}]]), **changes}
    uri = write_parquet(tmp_path / "m.parquet", pa.table(columns))
    assert problems(uri) == [("m.parquet", None, column)]


@pytest.mark.parametrize("column", ["video_uri", "objects"])
def test_parquet_without_a_column(tmp_path, column):
    table = pa.Table.from_pylist([row()]).drop_columns([column])
    assert problems(write_parquet(tmp_path / "m.parquet", table)) == [("m.parquet", None, column)]


def test_parquet_types_that_hold_the_same(tmp_path):
    box = pa.list_(pa.int32(), 4)
    objects = pa.large_list(pa.struct([("object_id", pa.large_string()), ("box", box), ("mask", pa.null())]))
    table = pa.table(
        {
            "video_uri": pa.array(["v.mp4"]).dictionary_encode(),
            "clip_id": pa.array([None], pa.null()),
            "start_frame": pa.array([3], pa.uint8()),
            "end_s": pa.array([None], pa.float32()),
            "objects": pa.array([[{"object_id": "07", "box": [1, 2, 3, 4]}]], objects),
        }
    )
    (clip,) = clips(write_parquet(tmp_path / "m.parquet", table))
    assert (clip.start_frame, clip.objects[0].box) == (3, (1.0, 2.0, 3.0, 4.0))


def test_a_file_that_is_no_parquet(tmp_path):
    (tmp_path / "m.parquet").write_text("no such thing")
    assert problems(tmp_path / "m.parquet") == [("m.parquet", None, "")]


def test_a_damaged_parquet_file_is_refused_by_name(tmp_path):
    path = tmp_path / "m.parquet"
    write_parquet(path, [row(str(i)) for i in range(500)])
    data = bytearray(path.read_bytes())
    data[4 : len(data) // 2] = bytes(len(data) // 2 - 4)
    path.write_bytes(data)
    with pytest.raises((ManifestError, StorageError), match=r"m\.parquet"):
        read(path)


# CSV


def test_csv_ids_stay_as_they_are(tmp_path):
    uri = write_csv(tmp_path / "m.csv", ["v.mp4,007,,,01,,1,2,3,4", "v.mp4,08,,,1.0,,1,2,3,4"])
    found = clips(uri)
    assert [clip.clip_id for clip in found] == ["007", "08"]
    assert [clip.objects[0].object_id for clip in found] == ["01", "1.0"]


def test_csv_rows_of_one_clip_need_not_be_adjacent(tmp_path):
    lines = ["v.mp4,b,0,9,,,1,2,3,4", "v.mp4,a,0,9,x,,5,6,7,8", "v.mp4,b,0,9,,,9,2,3,4", "v.mp4,a,0,9,x,4,1,1,1,1"]
    found = clips(write_csv(tmp_path / "m.csv", lines))
    assert [clip.clip_id for clip in found] == ["b", "a"]
    assert [(item.object_id, item.box[0]) for item in found[0].objects] == [("0", 1.0), ("1", 9.0)]
    assert [(item.object_id, item.init_frame) for item in found[1].objects] == [("x", None), ("x", 4)]


def test_csv_rows_without_an_id_are_one_clip_by_video_and_range(tmp_path):
    lines = ["v.mp4,,0,9,,,1,2,3,4", "w.mp4,,0,9,,,1,2,3,4", "v.mp4,,0,8,,,1,2,3,4", "v.mp4,,0,9.0,,,5,2,3,4"]
    found = clips(write_csv(tmp_path / "m.csv", lines))
    assert [(clip.video_uri, clip.end_frame, len(clip.objects)) for clip in found] == [
        ("v.mp4", 9, 2),
        ("w.mp4", 9, 1),
        ("v.mp4", 8, 1),
    ]


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_csv_of_many_scattered_clips(tmp_path):
    lines = [f"v.mp4,{i % 100_000},0,9,,,{i},2,3,4" for i in range(200_000)]
    batches = read(write_csv(tmp_path / "m.csv", lines)).rows()
    found = [row for batch in batches for row in batch]
    assert [row.clip_id for row in found] == [str(i) for i in range(100_000)]
    assert [item.box[0] for item in found[777].clip().objects] == [777.0, 100_777.0]


def test_csv_equals_json_lines(tmp_path):
    lines = ["v.mp4,a,5,,,,1,2.5,3,4e1", "v.mp4,a,5,,7,6,1,2,3,4"]
    objects = [{"box": [1, 2.5, 3, 40]}, {"object_id": "7", "init_frame": 6, "box": [1, 2, 3, 4]}]
    other = write_lines(tmp_path / "m.jsonl", [row("a", start_frame=5, objects=objects)])
    assert clips(write_csv(tmp_path / "m.csv", lines)) == clips(other)


def test_csv_quotes_marks_and_line_ends(tmp_path):
    text = f'\ufeff{HEADER},note\r\n"a ""b"",c.mp4",1,,,,,1,2,3,4,"two\r\nlines"\r\n\r\nd.mp4,2,,,,,1,2,-3,4,\r\n'
    (tmp_path / "m.csv").write_bytes(text.encode())
    assert problems(tmp_path / "m.csv") == [("m.csv", 5, "w")]
    (tmp_path / "m.csv").write_bytes(text.replace("-3", "3").encode())
    found = clips(tmp_path / "m.csv", keep_columns=["note"])
    assert [clip.video_uri for clip in found] == ['a "b",c.mp4', "d.mp4"]
    assert found[0].keep == {"note": "two\r\nlines"}


@pytest.mark.parametrize(
    ("line", "column"),
    [
        (",a,,,,,1,2,3,4", "video_uri"),
        ("v.mp4,a,,,,,1,2,3,", "h"),
        ("v.mp4,a,,,,,one,2,3,4", "x"),
        ("v.mp4,a,,,,,1_0,2,3,4", "x"),
        ("v.mp4,a,,,,,1,nan,3,4", "y"),
        ("v.mp4,a,,,,,1,2,inf,4", "w"),
        ("v.mp4,a,,,,,1,2,3,0", "h"),
        ("v.mp4,a,first,,,,1,2,3,4", "start_frame"),
        ("v.mp4,a,1.5,,,,1,2,3,4", "start_frame"),
        ("v.mp4,a,-1,,,,1,2,3,4", "start_frame"),
        ("v.mp4,a,5,5,,,1,2,3,4", "end_frame"),
        ("v.mp4,a,5,,,4,1,2,3,4", "init_frame"),
        ("http://h/v.mp4,a,,,,,1,2,3,4", "video_uri"),
        ("v.mp4,a b,,,,,1,2,3,4", "clip_id"),
        ("v.mp4,a,,,,,1,2,3", ""),
        ("v.mp4,a,,,,,1,2,3,4,5", ""),
        ('v.mp4,"a"b,,,,,1,2,3,4', ""),
    ],
)
def test_bad_csv_rows_name_line_and_column(tmp_path, line, column):
    uri = write_csv(tmp_path / "m.csv", ["v.mp4,z,,,,,1,2,3,4", "", line])
    assert problems(uri) == [("m.csv", 4, column)]


def test_csv_bytes_that_are_no_utf8(tmp_path):
    uri = write_csv(tmp_path / "m.csv", ["v.mp4,z,,,,,1,2,3,4", "v?.mp4,a,,,,,1,2,3,4"])
    data = (tmp_path / "m.csv").read_bytes()
    (tmp_path / "m.csv").write_bytes(data.replace(b"?", b"\xff"))
    assert problems(uri) == [("m.csv", 3, "video_uri")]


def test_csv_rows_of_one_clip_that_disagree(tmp_path):
    lines = ["v.mp4,a,0,9,,,1,2,3,4", "w.mp4,b,0,9,,,1,2,3,4", "w.mp4,a,0,8,,,1,2,3,4"]
    uri = write_csv(tmp_path / "m.csv", lines)
    assert problems(uri) == [("m.csv", 4, "video_uri"), ("m.csv", 4, "end_frame")]
    assert "'v.mp4' as in row 2" in message(uri)


def test_csv_object_twice_on_one_frame_names_both_rows(tmp_path):
    lines = ["v.mp4,a,0,9,x,,1,2,3,4", "w.mp4,b,0,9,x,,1,2,3,4", "v.mp4,a,0,9,x,0,1,2,3,4"]
    uri = write_csv(tmp_path / "m.csv", lines)
    assert problems(uri) == [("m.csv", 4, "object_id")]
    assert "another init_frame than row 2 has" in message(uri)


@pytest.mark.parametrize(
    ("header", "columns"),
    [
        ("video_uri,x,y,w", ["h"]),
        ("clip_id;video_uri;x;y;w;h", ["video_uri", "x", "y", "w", "h"]),
        ("video_uri,x,y,w,h,x", ["x"]),
    ],
)
def test_csv_headers(tmp_path, header, columns):
    uri = write_csv(tmp_path / "m.csv", ["v.mp4,1,2,3"], header)
    assert problems(uri) == [("m.csv", 1, column) for column in columns]


# Files, folders, globs


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


# Columns, options, streaming


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


def test_stride_is_checked_by_row(tmp_path):
    rows = [row(str(i), objects=[{"init_frame": 3 * i, "box": BOX}]) for i in range(3)]
    uri = write_lines(tmp_path / "m.jsonl", rows)
    assert len(clips(uri)) == 3
    assert problems(uri, stride=2) == [("m.jsonl", 2, "objects[0].init_frame")]


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


def test_csv_that_is_written_by_python_comes_back(tmp_path):
    with open(tmp_path / "m.csv", "w", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerow(["video_uri", "x", "y", "w", "h", "start_frame"])
        writer.writerow(["a,b.mp4", 1, 2, 3, 4, ""])
    (clip,) = clips(tmp_path / "m.csv")
    assert (clip.video_uri, clip.start_frame) == ("a,b.mp4", None)
