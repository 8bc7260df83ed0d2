"""Storage over local files and a real S3 server: the same promises on both, and errors that say what to do."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import storage
from pipeline.storage.settings import s3_client
from tests.conftest import S3Store

IMPATIENT = storage.Settings(retry_s=0.0, connect_timeout_s=2.0, read_timeout_s=5.0)


def test_round_trip(folder: str, tmp_path: Path) -> None:
    uri = storage.join(folder, "deep", "name with space+%41.bin")
    data = bytes(range(256)) * 20_000
    storage.write_bytes(uri, data)
    assert storage.read_bytes(uri) == data
    assert storage.size(uri) == len(data)
    seen: list[int] = []
    assert storage.download(uri, tmp_path / "copy", on_bytes=seen.append) == len(data)
    assert (tmp_path / "copy").read_bytes() == data
    assert sum(seen) == len(data)
    storage.write_bytes(uri, b"short")
    assert storage.read_bytes(uri) == b"short"
    storage.delete_many([uri, storage.join(folder, "never-there")])
    assert not storage.exists(uri)


def test_listing_streams_more_than_a_page(folder: str) -> None:
    names = [f"part-{i:04d}" for i in range(1_050 if folder.startswith("s3") else 50)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: storage.create(storage.join(folder, "many", name), b"x"), names))
    storage.write_bytes(storage.join(folder, "manyother"), b"x")
    listing = storage.list_files(storage.join(folder, "many"))
    assert isinstance(listing, Iterator)
    found = list(listing)
    assert sorted(storage.name(entry.uri) for entry in found) == names
    assert {entry.size for entry in found} == {1}
    assert abs(found[0].modified - datetime.now(UTC)) < timedelta(minutes=5)
    few = [storage.name(entry.uri) for entry in storage.list_files(folder, "many/part-000")]
    assert sorted(few) == names[:10]


def test_folders_and_globs(folder: str) -> None:
    for name in ("a/1.jsonl", "a/2.jsonl", "a/b/3.jsonl", "a/4.csv"):
        storage.write_bytes(storage.join(folder, name), b"x")
    assert storage.is_folder(storage.join(folder, "a"))
    assert not storage.is_folder(storage.join(folder, "a/4.csv"))
    assert not storage.is_folder(storage.join(folder, "none"))
    assert list(storage.list_files(storage.join(folder, "none"))) == []

    def matches(pattern: str) -> list[str]:
        return sorted(entry.uri.removeprefix(folder + "/") for entry in storage.glob(f"{folder}/{pattern}"))

    assert matches("a/*.jsonl") == ["a/1.jsonl", "a/2.jsonl"]
    assert matches("*/[13].jsonl") == ["a/1.jsonl"]
    assert matches("a/**/*.jsonl") == ["a/1.jsonl", "a/2.jsonl", "a/b/3.jsonl"]
    assert matches("a/?.csv") == ["a/4.csv"]


def test_arrow_reads_what_was_written(folder: str, tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [1, 2]}), tmp_path / "t.parquet")
    uri = storage.join(folder, "t.parquet")
    storage.upload_file(tmp_path / "t.parquet", uri)
    filesystem, path = storage.filesystem_for(uri)
    assert pq.read_table(path, filesystem=pickle.loads(pickle.dumps(filesystem)))["x"].to_pylist() == [1, 2]
    missing, path = storage.filesystem_for(storage.join(folder, "none.parquet"))
    with pytest.raises(storage.NotFound, match="none.parquet"), storage.reporting(path, "read"):
        missing.open_input_file(path)


def test_of_many_creators_one_wins(folder: str) -> None:
    for attempt in range(3):
        uri = storage.join(folder, f"race-{attempt}")
        start = threading.Barrier(6)

        def contend(i: int, uri: str = uri, start: threading.Barrier = start) -> tuple[int, str | None]:
            start.wait()
            return i, storage.create(uri, b"%d" % i * 5_000)

        with ThreadPoolExecutor(6) as pool:
            winners = [i for i, version in pool.map(contend, range(6)) if version is not None]
        assert len(winners) == 1
        assert storage.read_bytes(uri) == b"%d" % winners[0] * 5_000


def test_conditional_overwrites_lose_no_update(folder: str) -> None:
    uri = storage.join(folder, "counter")
    assert storage.create(uri, b"0") is not None

    def add(_: int) -> None:
        while True:
            now = storage.read_versioned(uri)
            if storage.replace(uri, b"%d" % (int(now.data) + 1), now.version) is not None:
                return

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, range(20)))
    assert storage.read_bytes(uri) == b"20"
    assert storage.replace(uri, b"x", "0" * 32) is None
    assert storage.replace(storage.join(folder, "absent"), b"x", "0" * 32) is None


def test_a_retried_create_knows_its_own_first_try(s3_store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store took the object, the answer was lost, the second try meets the first."""
    from botocore.exceptions import ReadTimeoutError

    from pipeline.storage.settings import s3_client

    client = s3_client(storage.Settings())
    real, calls = client.put_object, []

    def flaky(**request: object) -> object:
        calls.append(request)
        answer = real(**request)
        if len(calls) == 1:
            raise ReadTimeoutError(endpoint_url="x")
        return answer

    monkeypatch.setattr(client, "put_object", flaky)
    uri = s3_store.uri("storage/lost-answer")
    assert storage.create(uri, b"mine") is not None
    assert len(calls) == 2
    assert storage.create(uri, b"mine") is None


def test_interrupted_upload_leaves_nothing(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of a 40 MB file goes up, then its source breaks."""
    source = tmp_path / "big"
    source.write_bytes(b"x" * (40 << 20))
    uri = storage.join(folder, "big")
    if folder.startswith("s3"):
        from pipeline.storage.settings import s3_client

        client = s3_client(IMPATIENT)
        real = client.upload_part

        def broken(**request: object) -> object:
            if request["PartNumber"] == 3:
                raise RuntimeError("source broke")
            return real(**request)

        monkeypatch.setattr(client, "upload_part", broken)
    else:

        def half(source: object, target: object, size: int) -> None:
            target.write(b"x" * 1000)  # type: ignore[attr-defined]
            raise RuntimeError("source broke")

        monkeypatch.setattr("shutil.copyfileobj", half)
    with pytest.raises(RuntimeError, match="source broke"):
        storage.upload_file(source, uri, IMPATIENT)
    assert list(storage.list_files(folder)) == []


def test_leftovers_of_killed_writers_are_removed(folder: str) -> None:
    at = storage.parse(folder)
    if at.is_local:
        Path(at.key, "masks").mkdir(parents=True)
        Path(at.key, "masks", ".part-x.parquet.0123abcd.tmp").write_bytes(b"half")
    else:
        upload = boto3.client("s3").create_multipart_upload(Bucket=at.bucket, Key=f"{at.key}/masks/part-x.parquet")
        assert upload["UploadId"]
    assert storage.abort_uploads(storage.join(folder, "clips")) == 0
    assert storage.abort_uploads(folder) == 1
    assert storage.abort_uploads(folder) == 0
    assert list(storage.list_files(folder)) == []


def test_download_goes_on_after_a_broken_connection(
    s3_store: S3Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from urllib3.exceptions import ProtocolError

    from pipeline.storage.settings import s3_client

    data = bytes(range(256)) * (5 << 12)
    uri = s3_store.uri("storage/resumed")
    storage.write_bytes(uri, data)
    client = s3_client(storage.Settings())
    real, ranges = client.get_object, []

    class Broken:
        def __init__(self, body: object) -> None:
            self.body = body

        def iter_chunks(self, size: int) -> Iterator[bytes]:
            yield next(self.body.iter_chunks(size))  # type: ignore[attr-defined]
            raise ProtocolError("reset")

    def breaking(**request: object) -> dict[str, object]:
        answer = real(**request)
        ranges.append(request.get("Range"))
        if len(ranges) < 3:
            answer["Body"] = Broken(answer["Body"])
        return answer

    monkeypatch.setattr(client, "get_object", breaking)
    storage.download(uri, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == data
    assert ranges == [None, f"bytes={1 << 20}-", f"bytes={2 << 20}-"]


def test_failed_download_leaves_no_file(folder: str, tmp_path: Path) -> None:
    uri = storage.join(folder, "big")
    storage.write_bytes(uri, b"x" * 5_000_000)
    target = tmp_path / "scratch"
    target.mkdir()
    with pytest.raises(storage.TooLarge, match=r"5000000 bytes, more than the limit of 4000000"):
        storage.download(uri, target / "a", max_bytes=4_000_000)

    def stop(count: int) -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        storage.download(uri, target / "a", on_bytes=stop)
    with pytest.raises(storage.NotFound):
        storage.download(storage.join(folder, "absent"), target / "a")
    assert list(target.iterdir()) == []


def test_google_by_its_s3_interface(s3_store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the AWS settings' endpoint, which here is the test's store; without one, with Google's."""
    storage.write_bytes(s3_store.uri("google/a.bin"), b"abc")
    folder = s3_store.uri("google").replace("s3://", "gs://")
    (entry,) = storage.list_files(folder)
    assert entry.uri == storage.resolve(folder, "a.bin") == f"{folder}/a.bin" and storage.size(entry.uri) == 3
    assert storage.read_bytes(entry.uri) == b"abc"
    filesystem, path = storage.filesystem_for(entry.uri)
    assert filesystem.open_input_file(path).read() == b"abc"
    storage.delete_many([entry.uri])
    assert not storage.exists(s3_store.uri("google/a.bin"))
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    assert s3_client(storage.Settings().of_scheme("gs")).meta.endpoint_url == "https://storage.googleapis.com"
    assert "amazonaws" in s3_client(storage.Settings().of_scheme("s3")).meta.endpoint_url
