"""Every kind of access to object storage while the store errs, throttles, tears, stalls or is gone."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import storage
from tests.chaos.proxy import Fault, FaultProxy, Request, Verdict
from tests.conftest import S3Store

PATIENT = storage.Settings(retry_s=30.0, connect_timeout_s=1.0, read_timeout_s=2.0)
LARGE = os.urandom(18 << 20)  # more than one part of a multipart upload


@pytest.fixture
def proxy(s3_store: S3Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """The store with a proxy in front of it, which this process's AWS_* settings point at."""
    with FaultProxy(int(s3_store.endpoint.rpartition(":")[2])) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        yield proxy


def _all_accesses(base: str, tmp_path: Path, settings: storage.Settings) -> None:
    """Write, read, list and delete in every way; each must be right and happen once."""
    large = tmp_path / "large"
    large.write_bytes(LARGE)
    storage.upload_file(large, f"{base}/large", settings)
    storage.download(f"{base}/large", tmp_path / "back", settings=settings)
    assert (tmp_path / "back").read_bytes() == LARGE
    version = storage.create(f"{base}/lease", b"one", settings)
    assert version is not None, "a put whose answer was lost still wins"
    assert storage.create(f"{base}/lease", b"two", settings) is None
    assert storage.replace(f"{base}/lease", b"three", version, settings) is not None
    assert storage.replace(f"{base}/lease", b"four", version, settings) is None
    assert storage.read_bytes(f"{base}/lease", settings) == b"three"
    assert {storage.name(entry.uri) for entry in storage.list_files(base, settings=settings)} == {"large", "lease"}
    storage.delete_many([f"{base}/large", f"{base}/lease"], settings)
    assert list(storage.list_files(base, settings=settings)) == []


@pytest.mark.parametrize(
    ("fault", "share", "seconds"),
    [
        ("error", 0.5, 3.0),
        ("throttle", 0.5, 3.0),
        ("torn", 0.5, 3.0),
        ("slow", 1.0, 3.0),
        ("cut", 1.0, 3.0),
        ("silent", 1.0, 5.0),
    ],
)
def test_all_accesses_bear_a_store_that_is_ill_for_a_while(
    proxy: FaultProxy, s3_store: S3Store, tmp_path: Path, fault: Fault, share: float, seconds: float
) -> None:
    well = threading.Timer(seconds, proxy.set, ["none"])
    proxy.set(fault, share=share)
    well.start()
    _all_accesses(s3_store.uri(f"ill/{fault}"), tmp_path, PATIENT)
    well.cancel()
    assert proxy.faults[fault] >= 1


@pytest.mark.parametrize("fault", ["error", "throttle", "cut"])
def test_tables_are_read_through_pyarrow_while_the_store_is_ill(
    proxy: FaultProxy, s3_store: S3Store, tmp_path: Path, fault: Fault
) -> None:
    table = pa.table({"n": list(range(300_000))})
    pq.write_table(table, tmp_path / "table.parquet", compression="none")
    uri = s3_store.uri(f"ill/{fault}.parquet")
    storage.upload_file(tmp_path / "table.parquet", uri)
    proxy.set(fault)
    well = threading.Timer(2.0, proxy.set, ["none"])
    well.start()
    filesystem, path = storage.filesystem_for(uri)
    assert pq.read_table(path, filesystem=filesystem).equals(table)
    well.cancel()
    assert proxy.faults[fault] >= 1


def test_a_conditional_put_whose_answer_is_lost_has_won(proxy: FaultProxy, s3_store: S3Store) -> None:
    uri, seen = s3_store.uri("ill/answer"), []

    def deaf(request: Request) -> Verdict:
        seen.append(request.path)
        return "deaf"

    proxy.hook(lambda request: request.method == "PUT" and request.path.endswith("ill/answer"), deaf, times=2)
    version = storage.create(uri, b"mine", PATIENT)
    assert version is not None and storage.create(uri, b"other", PATIENT) is None
    proxy.hook(lambda request: request.method == "PUT" and request.path.endswith("ill/answer"), deaf)
    assert storage.replace(uri, b"mine again", version, PATIENT) is not None
    assert storage.read_bytes(uri) == b"mine again" and len(seen) == 3


def test_a_put_cut_off_after_its_headers_leaves_no_empty_object(proxy: FaultProxy, s3_store: S3Store) -> None:
    """The store keeps what it has got by then, nothing, as the whole object, unless it is told what is to come."""
    uri = s3_store.uri("ill/headless")
    proxy.hook(lambda request: request.method == "PUT" and request.path.endswith("ill/headless"), lambda _: "headless")
    assert storage.create(uri, b"a commit", PATIENT) is not None
    assert proxy.faults["hook"] == 1 and storage.read_bytes(uri) == b"a commit"


def test_a_store_that_stays_away_is_given_up_in_time_and_by_name(proxy: FaultProxy, s3_store: S3Store) -> None:
    proxy.set("cut")
    began = time.monotonic()
    with pytest.raises(storage.Unavailable, match="ill/gone"):
        storage.read_bytes(s3_store.uri("ill/gone"), storage.Settings(retry_s=3.0, connect_timeout_s=1.0))
    assert 2.0 < time.monotonic() - began < 15.0


@pytest.mark.slow
def test_half_a_minute_without_the_store_costs_nothing(proxy: FaultProxy, s3_store: S3Store, tmp_path: Path) -> None:
    """The settings of a real run; the cut comes in the middle of the large upload."""
    hidden = threading.Event()

    def cut(request: Request) -> Verdict:
        hidden.set()
        proxy.set("cut")
        threading.Timer(30.0, proxy.set, ["none"]).start()
        return "drop"

    proxy.hook(lambda request: request.method == "PUT" and request.path.endswith("cut/large"), cut)
    began = time.monotonic()
    _all_accesses(s3_store.uri("cut"), tmp_path, storage.Settings.from_environment())
    assert hidden.is_set() and time.monotonic() - began > 30.0
