"""Rows come out sorted, whole and in bounded memory, whatever order and length they came in."""

from __future__ import annotations

import random
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

from pipeline.output import schema as tables
from pipeline.output import spool as spooling
from pipeline.output.spool import Spool
from tests.pipeline.output_rows import track


def _keys(path: Path) -> list[tuple[str, str, int]]:
    table = pq.read_table(path, columns=["clip_id", "object_id", "frame_index"])
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


def test_sorted_by_clip_object_and_frame(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    feeds = [(c, iter(track(o, 700))) for c in ("b", "a", "a.1", "é", "Z") for o in ("10", "9", "1")]
    live = list(feeds)
    rng = random.Random(3)
    while live:
        one = rng.choice(live)
        row = next(one[1], None)
        if row is None:
            live.remove(one)
        else:
            spool.add(one[0], [row])
    for clip_id in ("b", "a", "a.1", "é", "Z"):
        assert spool.finish(clip_id) == 2100
    assert spool.assemble(["é", "b", "Z", "a"], tmp_path / "out.parquet") == dict.fromkeys("abZé", 2100)
    keys = _keys(tmp_path / "out.parquet")
    assert keys == [(c, o, f) for c in ("Z", "a", "b", "é") for o in ("1", "10", "9") for f in range(700)]
    assert pq.read_schema(tmp_path / "out.parquet") == tables.MASKS


def test_discarded_clips_leave_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for clip_id in ("a", "b"):
        spool.add(clip_id, track("0", 600))
        spool.finish(clip_id)
    spool.discard("a")
    spool.discard("never")
    assert len(list(tmp_path.iterdir())) == 1
    assert spool.assemble(["a", "b"], tmp_path / "out.parquet") == {"b": 600}
    assert {key[0] for key in _keys(tmp_path / "out.parquet")} == {"b"}
    spool.discard("b")
    assert spool.assemble(["b"], tmp_path / "none.parquet") == {}
    assert not (tmp_path / "none.parquet").exists()


@pytest.mark.parametrize("second", [4, 3])
def test_frames_come_once_and_in_order(tmp_path: Path, second: int) -> None:
    spool = Spool(tmp_path)
    spool.add("a", track("0", 1, first=4))
    with pytest.raises(ValueError, match=f"clip a, object 0: frame {second} came after frame 4"):
        spool.add("a", track("0", 1, first=second))


def test_row_groups_and_encodings(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for clip_id in ("a", "b", "c"):
        spool.add(clip_id, track("0", 30_000))
        spool.finish(clip_id)
    spool.assemble("abc", tmp_path / "out.parquet")
    meta = pq.ParquetFile(tmp_path / "out.parquet").metadata
    groups = [meta.row_group(i) for i in range(meta.num_row_groups)]
    assert [group.num_rows <= 65_536 for group in groups] == [True, True] and meta.num_rows == 90_000
    columns = {groups[0].column(i).path_in_schema: groups[0].column(i) for i in range(groups[0].num_columns)}
    assert {column.compression for column in columns.values()} == {"ZSTD"}
    counts = columns["mask.counts"]
    assert not counts.has_dictionary_page and counts.statistics is None
    assert columns["clip_id"].has_dictionary_page and columns["clip_id"].statistics.max == "c"
    assert [sorting.column_index for sorting in groups[0].sorting_columns] == [
        tables.MASKS.names.index(name) for name in ("clip_id", "object_id", "frame_index")
    ]


def test_large_masks_make_smaller_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spooling, "ROW_GROUP_BYTES", 100_000)
    spool = Spool(tmp_path)
    spool.add("a", track("0", 3_000))
    spool.finish("a")
    spool.assemble("a", tmp_path / "out.parquet")
    meta = pq.ParquetFile(tmp_path / "out.parquet").metadata
    assert meta.num_row_groups > 3 and meta.num_rows == 3_000


def test_memory_and_open_files_do_not_grow_with_the_clip(tmp_path: Path) -> None:
    """Ten times the frames, the same peak: rows in memory are bounded by the number of objects."""

    def peak(rows: int) -> int:
        folder = tmp_path / str(rows)
        folder.mkdir()
        tracemalloc.start()
        spool = Spool(folder)
        for first in range(0, rows // 2, 100):
            for object_id in ("0", "1"):
                spool.add("a", track(object_id, 100, first))
        spool.finish("a")
        assert len(psutil.Process().open_files()) <= files
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    files = len(psutil.Process().open_files())
    peak(600)  # imports of the first use
    short, long = peak(2_000), peak(20_000)
    print(f"peak while spooling: {short} bytes for 2,000 rows, {long} bytes for 20,000")
    assert long < 1.3 * short


def test_assembling_holds_one_row_group(tmp_path: Path) -> None:
    import pyarrow as pa

    def peak(rows: int) -> int:
        spool = Spool(tmp_path)
        clip_id = f"c{rows}"
        spool.add(clip_id, track("0", rows))
        spool.finish(clip_id)
        pool = pa.proxy_memory_pool(pa.default_memory_pool())
        before = pa.default_memory_pool()
        pa.set_memory_pool(pool)
        try:
            spool.assemble([clip_id], tmp_path / f"{rows}.parquet")
        finally:
            pa.set_memory_pool(before)
        return pool.max_memory()

    short, long = peak(70_000), peak(210_000)
    print(f"Arrow's peak while assembling: {short} bytes for 70,000 rows, {long} bytes for 210,000")
    assert long < 1.2 * short


def test_clips_are_fed_from_many_threads(tmp_path: Path) -> None:
    spool = Spool(tmp_path)

    def feed(i: int) -> None:
        for first in range(0, 600, 7):
            spool.add(f"clip-{i}", track("0", 7, first))
        spool.finish(f"clip-{i}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(feed, range(8)))
    names = [f"clip-{i}" for i in range(8)]
    assert spool.assemble(names, tmp_path / "out.parquet") == dict.fromkeys(names, 602)
    assert len(_keys(tmp_path / "out.parquet")) == 8 * 602


def test_objects_with_few_rows_need_no_file_until_they_are_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "spool"
    folder.mkdir()
    spool = Spool(folder)
    spool.add("a", track("0", 10))
    spool.finish("a")
    assert not list(folder.iterdir())
    monkeypatch.setattr("pipeline.output.spool.KEPT_BYTES", 0)
    spool.add("b", track("0", 10))
    spool.finish("b")
    assert len(list(folder.iterdir())) == 1
    part = tmp_path / "part.parquet"
    assert spool.assemble(["a", "b"], part) == {"a": 10, "b": 10}
    table = pq.read_table(part)
    assert table.column("clip_id").to_pylist() == ["a"] * 10 + ["b"] * 10
    assert table.column("frame_index").to_pylist() == 2 * list(range(10))


def test_discarding_makes_room_again(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for number in range(3):
        spool.add(str(number), track("0", 1))
        spool.finish(str(number))
    assert spool._kept_bytes > 0
    for number in range(3):
        spool.discard(str(number))
    assert spool._kept_bytes == 0
