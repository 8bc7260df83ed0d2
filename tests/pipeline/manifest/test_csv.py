"""Manifests in CSV: one row an object, lines named, ids as they are written."""

import csv

import pytest

from tests.pipeline.manifest.manifest_files import HEADER, clips, message, problems, read, row, write_csv, write_lines

pytestmark = pytest.mark.usefixtures("small_pieces")


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


def test_csv_categories(tmp_path):
    header = "video_uri,x,y,w,h,category"
    (clip,) = clips(write_csv(tmp_path / "m.csv", ["v.mp4,1,2,3,4,boat", "v.mp4,1,2,3,4,"], header))
    assert clip.categories == {"0": "boat", "1": None}


def test_csv_directions(tmp_path):
    header = "video_uri,init_frame,x,y,w,h,direction"
    lines = ["v.mp4,5,1,2,3,4,both", "v.mp4,,1,2,3,4,"]
    (clip,) = clips(write_csv(tmp_path / "m.csv", lines, header))
    assert [start.direction for start in clip.objects] == ["both", "forward"]
    write_csv(tmp_path / "bad.csv", [*lines, "v.mp4,,1,2,3,4,Both"], header)
    assert problems(tmp_path / "bad.csv") == [("bad.csv", 4, "direction")]


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
        ("clip_id;video_url;x;y;w;h", ["video_uri", "x", "y", "w", "h"]),
        ("video_uri,x,y,w,h,x", ["x"]),
    ],
)
def test_csv_headers(tmp_path, header, columns):
    uri = write_csv(tmp_path / "m.csv", ["v.mp4,1,2,3"], header)
    assert problems(uri) == [("m.csv", 1, column) for column in columns]


def test_csv_that_is_written_by_python_comes_back(tmp_path):
    with open(tmp_path / "m.csv", "w", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerow(["video_uri", "x", "y", "w", "h", "start_frame"])
        writer.writerow(["a,b.mp4", 1, 2, 3, 4, ""])
    (clip,) = clips(tmp_path / "m.csv")
    assert (clip.video_uri, clip.start_frame) == ("a,b.mp4", None)
