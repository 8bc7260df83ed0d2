"""Manifests as other tools write them: pandas, Spark, Excel, jq, gzip. Read where there is one meaning."""

import gzip
import json
import logging

import pandas as pd
import pyarrow as pa
import pytest

from pipeline.manifest import files, json_array
from tests.pipeline.manifest.manifest_files import (
    BOX,
    HEADER,
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
ROWS = [
    {"video_uri": "v.mp4", "clip_id": "a", "start_frame": 1.0, "objects": [{"init_frame": 3.0, "box": BOX}]},
    {"video_uri": "v.mp4", "clip_id": "b", "objects": [{"box": BOX}]},
]



def _starts(uri):
    return [(clip.clip_id, clip.start_frame, [item.init_frame for item in clip.objects]) for clip in clips(uri)]


@pytest.mark.shared
def test_the_cases(shared, caplog):
    folder = shared / "cases" / "manifests"
    one, two = clips(folder / "array.json")
    assert two.clip_id == "b" and one.video_location == str(shared / "cases" / "frames" / "base.mp4")
    (clip,) = clips(folder / "pandas-floats" / "o_initfloat.jsonl")
    assert clip.objects[0].init_frame == 3 and type(clip.objects[0].init_frame) is int
    (clip,) = clips(folder / "pandas-floats" / "pd_f.parquet")
    assert (clip.start_frame, clip.end_frame) == (1, None)
    excel = clips(folder / "excel_semi.csv")
    assert [
        (clip.clip_id, [(item.object_id, item.init_frame, item.box[0]) for item in clip.objects]) for clip in excel
    ] == [("a", [("1.0", None, 30.0), ("2.0", 3, 31.0)]), ("b", [("0", 0, 30.0)])]
    caplog.clear()
    assert clips(folder / "pd.csv") == excel
    assert caplog.messages == [
        f"{folder / 'pd.csv'}: ignored the unknown columns (one without a name, as pandas writes its index)"
    ]


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "parquet", "json", "csv", "csv.gz"])
def test_pandas_writes_whole_numbers_of_a_column_with_gaps_as_floats(tmp_path, kind):
    path = tmp_path / f"m.{kind}"
    if kind.startswith("csv"):
        frame = pd.DataFrame({"video_uri": ["v.mp4"] * 2, "clip_id": ["a", "b"], "start_frame": [1, None]})
        frame = frame.assign(init_frame=[3, None], **dict(zip("xywh", BOX, strict=True)))
        frame.to_csv(path)
    else:
        frame = pd.DataFrame(ROWS)
        if kind == "parquet":
            frame.to_parquet(path)
        else:
            frame.to_json(path, orient="records", lines=kind != "json")
    assert frame.start_frame.dtype == "float64"
    assert _starts(path) == [("a", 1, [3]), ("b", None, [None])]


def test_floats_that_are_whole_are_the_same_clip(tmp_path):
    floats, ints = row(start_frame=2.0, end_frame=9.0), row(start_frame=2, end_frame=9)
    hashes = {
        clip.clip_hash
        for name, rows in (("f", [floats]), ("i", [ints]))
        for uri in (
            write_lines(tmp_path / f"{name}.jsonl", rows),
            write_parquet(tmp_path / f"{name}.parquet", rows),
        )
        for clip in clips(uri)
    }
    assert len(hashes) == 1
    for uri in (
        write_lines(tmp_path / "m.jsonl", [row(start_frame=2.5)]),
        write_parquet(tmp_path / "m.parquet", [row(start_frame=2.5)]),
    ):
        assert [(line, column) for _, line, column in problems(uri)] == [(1, "start_frame")]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("suffix", ["json", "jsonl", "json.gz"])
def test_an_array_is_read_item_by_item(tmp_path, monkeypatch, indent, suffix):
    monkeypatch.setattr(json_array, "_CHUNK", 7)
    text = "\ufeff\n" + json.dumps([row(f"clip ü{i}".replace(" ü", "-")) for i in range(9)], indent=indent)
    data = text.encode()
    (tmp_path / f"m.{suffix}").write_bytes(gzip.compress(data) if suffix.endswith("gz") else data)
    manifest = read(tmp_path / f"m.{suffix}")
    found = [item for batch in manifest.rows() for item in batch]
    assert [item.clip_id for item in found] == [f"clip-{i}" for i in range(9)]
    assert found[0].row == 2 + (indent is not None) and (found[1].row > 3) == (indent is not None)


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ('[\n{"video_uri": 3, "objects": [{"box": [1, 2, 3, 4]}]}]', 2, "video_uri: expected a string, got 3"),
        ("[\n\n7]", 3, "expected one JSON object in the array, got 7"),
        ('[{"a": ', 1, "expected one JSON object in the array, got no JSON"),
        ("[" * 100_000, 1, "nested too deep"),
        ('[{"a": 1}\n{"a": 2}]', 2, "expected ',' in the JSON array"),
        ('[{"a": 1},', 1, "no JSON"),
        ('[{"a": 1}', 1, "got the end of the file"),
        ('[{"a": 1}]\n]', 2, "expected nothing after the JSON array"),
        ("[]", None, "expected 1 clip or more"),
    ],
)
def test_a_bad_array_is_named_by_line(tmp_path, text, line, said):
    (tmp_path / "m.json").write_text(text)
    assert problems(tmp_path / "m.json")[-1][1] == line
    assert said in message(tmp_path / "m.json")


def test_an_object_over_several_lines_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "PIECE_BYTES", 1 << 20)
    (tmp_path / "m.json").write_text(json.dumps(row(), indent=1))
    assert problems(tmp_path / "m.json") == [("m.json", 1, "")]
    assert "jq -c ." in message(tmp_path / "m.json")


def test_gzipped_lines_name_their_rows(tmp_path):
    lines = [json.dumps(row(str(i), start_frame=-1 if i == 700 else 0)) for i in range(900)]
    data = "\n".join(lines).encode()
    # Two members, as logs are put together.
    (tmp_path / "m.jsonl.gz").write_bytes(gzip.compress(data[:5000]) + gzip.compress(data[5000:]))
    assert problems(tmp_path / "m.jsonl.gz") == [("m.jsonl.gz", 701, "start_frame")]
    (tmp_path / "m.jsonl.gz").write_bytes(gzip.compress(data)[:-2000])
    with pytest.raises(Exception, match=r"m\.jsonl\.gz"):
        read(tmp_path / "m.jsonl.gz")


def test_sparks_empty_partitions_are_passed_over(tmp_path):
    folder = tmp_path / "m"
    write_lines(folder / "part-00001.json", [row("a")])
    for name in ("part-00000.json", "_SUCCESS", "part-00002.csv", ".part-00000.json.crc"):
        (folder / name).touch()
    (folder / "part-00003.json.gz").write_bytes(gzip.compress(b""))
    (folder / "part-00004.csv.gz").write_bytes(gzip.compress(b""))
    write_parquet(folder / "part-00005.parquet", pa.Table.from_pylist([row()]).slice(0, 0))
    assert [clip.clip_id for clip in clips(folder)] == ["a"]
    assert [clip.clip_id for clip in clips(folder / "*.json")] == ["a"]
    (folder / "part-00001.json").write_bytes(b"")
    assert "got an empty file" in message(folder / "*.json")


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_delimiters_decimal_commas_and_blank_rows(tmp_path, delimiter, encoding):
    lines = [HEADER.replace(",", delimiter), delimiter.join(["v.mp4", "a", "2,0", "", "é", "3", "1,5", "2", "3", "4"])]
    lines += [delimiter * 9, "", " " + delimiter * 3, delimiter.join(["v.mp4", "b", *[""] * 4, "1", "2", "3", "4", ""])]
    (tmp_path / "m.csv").write_bytes("\r\n".join(lines).encode(encoding))
    (one, two) = clips(tmp_path / "m.csv")
    assert (one.start_frame, one.objects[0].object_id, one.objects[0].box) == (2, "é", (1.5, 2.0, 3.0, 4.0))
    assert two.clip_id == "b"


def test_excels_separator_line_counts(tmp_path):
    (tmp_path / "m.csv").write_text(f"sep=;\n{HEADER.replace(',', ';')}\nv.mp4;a;;;;;1;2;3;x\n")
    assert problems(tmp_path / "m.csv") == [("m.csv", 3, "h")]


def test_a_comma_is_no_decimal_mark_where_it_parts_values(tmp_path):
    assert problems(write_csv(tmp_path / "m.csv", ['v.mp4,a,,,,,"1,5",2,3,4'])) == [("m.csv", 2, "x")]


def test_white_space_in_a_header(tmp_path):
    (clip,) = clips(write_csv(tmp_path / "m.csv", ["v.mp4, 1, 2, 3, 4"], "video_uri, x, y, w, h"))
    assert clip.objects[0].box == (1.0, 2.0, 3.0, 4.0)


def test_an_unnamed_column_is_not_one_of_two(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        uri = write_csv(tmp_path / "m.csv", ["0,v.mp4,1,2,3,4,,"], ",video_uri,x,y,w,h,,")
        assert len(clips(uri)) == 1
    assert "pandas" in caplog.text
