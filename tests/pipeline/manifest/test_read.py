"""Manifests in JSON Lines, and what holds for all: rows and columns named, twenty problems at once, ids used once."""

import json

import pytest

from pipeline.manifest import files
from tests.pipeline.manifest.manifest_files import BOX, clips, message, problems, read, row, write_lines, write_parquet

pytestmark = pytest.mark.usefixtures("small_pieces")


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


def test_stride_is_checked_by_row(tmp_path):
    rows = [row(str(i), objects=[{"init_frame": 3 * i, "box": BOX}]) for i in range(3)]
    uri = write_lines(tmp_path / "m.jsonl", rows)
    assert len(clips(uri)) == 3
    assert problems(uri, stride=2) == [("m.jsonl", 2, "objects[0].init_frame")]


def test_secrets_of_a_broken_line_are_not_shown(tmp_path):
    line = '{"video_uri": "https://h/v.mp4?X-Amz-Signature=hunter2", "x": "s3://AKIA:hunter2@b/k"'
    said = message(write_lines(tmp_path / "m.jsonl", [row(), line]))
    assert "m.jsonl:2" in said and "https://h/v.mp4?***" in said and "hunter2" not in said
