"""Sets in object storage become local folders: whole ones, whoever else asks at the same time, and the current ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model.training.data.sources import read_image
from model.training.data.tables import MASKS, encode_rle
from model.training.data.training_store import TrainingStore
from pipeline import storage
from pipeline.errors import UsageError
from pipeline.training.node_store import node_store
from pipeline.training.sets import check_set, local_set
from tests.conftest import S3Store
from tests.model.training.pictures import small_set, still
from tests.pipeline.training.uploads import upload

ROOT = Path(__file__).resolve().parents[3]
TOGETHER = """
import sys, time
from pathlib import Path
import pyarrow.parquet as pq
from pipeline.training.sets import local_set

uri, folder, me, other = sys.argv[1], Path(sys.argv[2]), sys.argv[3], sys.argv[4]
for number in range(15):
    (folder / f"{number}-{me}").touch()
    while not (folder / f"{number}-{other}").exists():
        time.sleep(0.001)
    found = local_set(uri, folder / f"cache-{number // 3}", "train")
    rows = pq.read_table(found / "sequences.parquet").to_pylist()
    assert [row["sequence"] for row in rows] == ["red", "blue", "still"], rows
    assert all(Path(image).stat().st_size > 100 for row in rows for image in row["images"])
    assert pq.read_table(found / "masks.parquet").num_rows == 11
"""


@pytest.fixture
def uri(s3_store: S3Store, tmp_path: Path) -> str:
    """A set with the sequences red, blue and still in object storage."""
    return upload(small_set(tmp_path / "shapes"), s3_store.uri(f"sets/{tmp_path.name}/shapes"))


def stills(folder: Path, name: str = "masks") -> Path:
    """A set of stills: two pictures with an object each, and nothing but a table of instances."""
    folder.mkdir()
    rows = []
    for number, image in enumerate(("a.png", "b.png")):
        picture = still(image, (10, 200, 10), number)
        cv2.imwrite(str(folder / image), picture.pixels)
        rows.append({"image": image, "instance": "0", "mask": encode_rle(picture.masks[0])})
    kind = {"image": pa.string(), "instance": pa.string(), "mask": MASKS.field("mask").type}
    pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(kind)), folder / f"{name}.parquet")
    return folder


@pytest.mark.slow
def test_two_processes_at_once_each_get_the_whole_set(uri: str, tmp_path: Path) -> None:
    (tmp_path / "both").mkdir()
    command = [sys.executable, "-c", TOGETHER, uri, str(tmp_path / "both")]
    pairs = (("one", "two"), ("two", "one"))
    running = [subprocess.Popen([*command, *pair], cwd=ROOT, stderr=subprocess.PIPE, text=True) for pair in pairs]
    try:
        for one in running:
            _, errors = one.communicate(timeout=100)
            assert one.returncode == 0, errors
    finally:
        for one in running:
            one.kill()
            one.wait()
    assert not list(tmp_path.glob("both/cache-*/scratch/*"))


def test_a_copy_is_used_again_while_the_tables_are_the_same(uri: str, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    folder = local_set(uri, cache, "train")
    written = {path: path.stat().st_ino for path in cache.rglob("*")}
    assert local_set(uri, cache, "train") == folder
    assert {path: path.stat().st_ino for path in cache.rglob("*")} == written


def test_replaced_tables_and_pictures_are_copied_and_the_rest_is_not(uri: str, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    before = local_set(uri, cache, "train")
    files = {path: path.stat().st_ino for path in (cache / "files").iterdir()}
    small_set(tmp_path / "shapes", ("red",))
    other = np.zeros((120, 160, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "shapes" / "red" / "00000.png"), other)
    for name in ("sequences.parquet", "masks.parquet", "red/00000.png"):
        storage.upload_file(tmp_path / "shapes" / name, storage.join(uri, *name.split("/")))
    after = local_set(uri, cache, "train")
    assert after != before
    [red, still] = pq.read_table(after / "sequences.parquet").to_pylist()
    assert [red["sequence"], still["sequence"]] == ["red", "still"]
    assert (read_image(Path(red["images"][0])) == other).all()
    new = {path: path.stat().st_ino for path in (cache / "files").iterdir()}
    assert set(new) - set(files) == {Path(red["images"][0])}
    assert all(new[path] == number for path, number in files.items())


@pytest.mark.parametrize("gone", ["picture", "table"])
def test_a_copy_of_which_a_file_is_gone_is_made_again(uri: str, tmp_path: Path, gone: str) -> None:
    found = local_set(uri, tmp_path / "cache", "train")
    rows = pq.read_table(found / "sequences.parquet").to_pylist()
    Path(rows[0]["images"][1] if gone == "picture" else found / "sequences.parquet").unlink()
    assert local_set(uri, tmp_path / "cache", "train") == found
    assert pq.read_table(found / "sequences.parquet").to_pylist() == rows
    assert all(Path(image).exists() for row in rows for image in row["images"])


def test_hidden_and_temporary_files_are_no_parts_of_a_table(uri: str, tmp_path: Path) -> None:
    name = storage.join(uri, "masks.parquet")
    data = storage.read_bytes(name)
    storage.delete_many([name])
    for part in ("masks/part-1.parquet", "masks/_temporary/0/part.parquet", "masks/.part-2.parquet"):
        storage.write_bytes(storage.join(uri, part), data)
    found = local_set(uri, tmp_path / "cache", "train")
    assert pq.read_table(found / "masks.parquet").num_rows == 11


def test_named_sequences_share_the_files_of_the_whole_set(uri: str, tmp_path: Path) -> None:
    said: list[str] = []
    whole = local_set(uri, tmp_path, "train", say=said.append)
    assert said[-1] == f"copying files of {uri}: 11/11"
    files = {path: path.stat().st_ino for path in (tmp_path / "files").iterdir()}
    part = local_set(uri, tmp_path, "train", ["blue"])
    assert part != whole
    [row] = pq.read_table(part / "sequences.parquet").to_pylist()
    assert row["sequence"] == "blue" and len(row["images"]) == 5
    assert {path: path.stat().st_ino for path in (tmp_path / "files").iterdir()} == files


def test_a_missing_picture_is_named_and_leaves_no_copy(uri: str, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    storage.delete_many([storage.join(uri, "blue", "00002.png")])
    with pytest.raises(storage.NotFound, match=r"blue/00002.png.*a table of .*/shapes names it"):
        local_set(uri, cache, "train")
    assert not list(cache.glob("sets/*/shapes")) and not list(cache.glob("scratch/*"))


def test_a_damaged_table_is_named(uri: str, tmp_path: Path) -> None:
    storage.write_bytes(storage.join(uri, "masks.parquet"), b"PAR1 and no more")
    with pytest.raises(ValueError, match=f"^{uri}/masks.parquet: not a readable Parquet file"):
        local_set(uri, tmp_path / "cache", "train")


@pytest.mark.parametrize("name", ["masks", "instances"])
def test_stills_alone_may_be_in_object_storage(s3_store: S3Store, tmp_path: Path, name: str) -> None:
    uri = upload(stills(tmp_path / "stills", name), s3_store.uri(f"sets/{tmp_path.name}/stills"))
    check_set(uri)
    options = {"split": "train", "stride": 1, "longest_side": 0}
    there = TrainingStore(node_store([uri], tmp_path / "cache", **options, say=lambda _: None))
    here = TrainingStore(node_store([str(tmp_path / "stills")], tmp_path / "cache", **options, say=lambda _: None))
    assert len(there) == len(here) == 2
    part = local_set(uri, tmp_path / "part", "train", ["blue"])
    assert pq.read_table(part / f"{name}.parquet").num_rows == 0 and not list(tmp_path.glob("part/files/*"))
    assert sorted(map(hash_of, map(there.picture, range(2)))) == sorted(map(hash_of, map(here.picture, range(2))))


def hash_of(pixels: np.ndarray) -> int:
    return hash(pixels.tobytes())


def test_what_is_no_set_is_refused_with_its_name(s3_store: S3Store, tmp_path: Path) -> None:
    uri = s3_store.uri(f"sets/{tmp_path.name}/half")
    with pytest.raises(UsageError, match="half: no sequences.parquet, masks.parquet or instances.parquet in it"):
        check_set(uri)
    small_set(tmp_path / "half")
    storage.upload_file(tmp_path / "half" / "sequences.parquet", storage.join(uri, "sequences.parquet"))
    with pytest.raises(UsageError, match=r"half: holds neither masks.parquet nor a folder masks"):
        check_set(uri)
