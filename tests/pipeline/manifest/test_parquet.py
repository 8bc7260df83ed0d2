"""Manifests in Parquet: rows named by number and index, types that hold the same, damaged files."""

import pyarrow as pa
import pytest

from pipeline.manifest import ManifestError
from pipeline.storage import StorageError
from tests.pipeline.manifest.manifest_files import BOX, clips, message, problems, read, row, write_lines, write_parquet

pytestmark = pytest.mark.usefixtures("small_pieces")


def test_parquet_rows(tmp_path):
    rows = [row(f"{i:03d}", start_frame=i, objects=[{"object_id": "07", "box": BOX}]) for i in range(50)]
    uri = write_parquet(tmp_path / "m.parquet", rows, row_group_size=7)
    found = clips(uri)
    assert [clip.clip_id for clip in found] == [f"{i:03d}" for i in range(50)]
    assert found[9].start_frame == 9
    assert found[9].objects[0].object_id == "07"
    assert found == clips(write_lines(tmp_path / "m.jsonl", rows))


def test_parquet_directions(tmp_path):
    objects = [{"box": BOX, "init_frame": 5, "direction": "both"}, {"box": BOX, "direction": None}]
    (clip,) = clips(write_parquet(tmp_path / "m.parquet", [row("a", objects=objects)]))
    assert [start.direction for start in clip.objects] == ["both", "forward"]


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
        ({"start_frame": pa.array(["1"])}, "start_frame"),
        ({"end_s": pa.array(["1"])}, "end_s"),
        ({"objects": pa.array(["[]"])}, "objects"),
        ({"objects": pa.array([[1.0]])}, "objects"),
        ({"objects": pa.array([[{"box": "1,2,3,4"}]])}, "objects.box"),
        ({"objects": pa.array([[{"box": BOX, "init_frame": "1"}]])}, "objects.init_frame"),
        ({"objects": pa.array([[{"box": BOX, "direction": 1}]])}, "objects.direction"),
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
