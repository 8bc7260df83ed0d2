"""What storage says when something is wrong: the URI, the cause and what to do, and no secret."""

from __future__ import annotations

import pickle
import socket
import time
from pathlib import Path

import pytest

from pipeline import storage
from pipeline.errors import UsageError
from pipeline.plan.options import SegmentOptions
from pipeline.plan.prepare import prepare
from tests.conftest import S3Store

IMPATIENT = storage.Settings(retry_s=0.0, connect_timeout_s=2.0, read_timeout_s=5.0)


def test_missing_things_are_named(folder: str, s3_store: S3Store) -> None:
    uri = storage.join(folder, "absent.mp4")
    for attempt in (storage.read_bytes, storage.size):
        with pytest.raises(storage.NotFound) as missing:
            attempt(uri)
        assert uri in str(missing.value)
    with pytest.raises(storage.NotFound, match=r"s3://no-such-bucket.*NoSuchBucket.*create it"):
        storage.read_bytes("s3://no-such-bucket/key")
    with pytest.raises(storage.NotFound, match=r"s3://no-such-bucket"):
        list(storage.list_files("s3://no-such-bucket"))


@pytest.mark.parametrize("wrong", ["AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"])
def test_denied_access_names_the_uri_and_no_secret(
    s3_store: S3Store, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    monkeypatch.setenv(wrong, "hunter2hunter2")
    uri = s3_store.uri("storage/denied")
    for attempt in (
        lambda: storage.read_bytes(uri),
        lambda: storage.write_bytes(uri, b"x"),
        lambda: list(storage.list_files(uri)),
        lambda: storage.create(uri, b"x"),
    ):
        with pytest.raises(storage.AccessDenied) as denied:
            attempt()
        shown = f"{denied.value} {denied.value!r} {denied.value.__cause__}"
        assert uri in shown
        assert "AWS_ACCESS_KEY_ID" in denied.value.advice
        assert "hunter2" not in shown and s3_store.secret_key not in shown


def test_no_credentials_at_all(s3_store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(storage.AccessDenied, match="NoCredentialsError"):
        storage.read_bytes(s3_store.uri("x"))


def test_unreachable_store(s3_store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(storage.Unavailable, match=r"s3://.*AWS_ENDPOINT_URL"):
        storage.read_bytes(s3_store.uri("x"), IMPATIENT)
    monkeypatch.setenv("SIAMMASK_STORAGE_RETRY_S", "soon")
    with pytest.raises(ValueError, match="SIAMMASK_STORAGE_RETRY_S is 'soon'"):
        storage.read_bytes(s3_store.uri("x"))


def test_errors_travel_between_processes() -> None:
    error = storage.NotFound("s3://b/k", "read", "NoSuchKey (HTTP 404)", "correct the URI")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is storage.NotFound and str(copy) == str(error) and copy.uri == "s3://b/k"


def test_probe(folder: str) -> None:
    assert storage.check_writable(folder) is True
    assert list(storage.list_files(folder)) == []


def test_probe_finds_a_store_that_ignores_conditions(s3_store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.storage.settings import s3_client

    client = s3_client(storage.Settings())
    real = client.put_object

    def ignoring(**request: object) -> object:
        return real(**{k: v for k, v in request.items() if k not in ("IfMatch", "IfNoneMatch")})

    monkeypatch.setattr(client, "put_object", ignoring)
    assert storage.check_writable(s3_store.uri("storage/ignoring")) is False


def test_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno
    import shutil

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "a").write_bytes(b"x")
    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(storage.NoSpace, match=r"/out.*ENOSPC.*free space"):
        storage.upload_file(tmp_path / "a", str(tmp_path / "out"), IMPATIENT)


@pytest.mark.alone
@pytest.mark.parametrize(
    ("settings", "least"),
    [
        (storage.Settings(retry_s=1.0, connect_timeout_s=1.0, read_timeout_s=1.0), 0.9),  # one try has all the time
        (storage.Settings(retry_s=1.0, connect_timeout_s=9.0, read_timeout_s=9.0), 0.9),  # a try may not outlast it
        (storage.Settings(retry_s=2.0, connect_timeout_s=1.0, read_timeout_s=0.5), 1.0),  # several tries
        (storage.Settings(retry_s=0.0, connect_timeout_s=1.0, read_timeout_s=0.5), 0.4),  # tries once
    ],
)
def test_retries_end_when_the_time_stated_for_them_is_over(
    monkeypatch: pytest.MonkeyPatch, settings: storage.Settings, least: float
) -> None:
    """A store that takes connections and says nothing: retries inside of retries took three times as long."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(64)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(storage.Unavailable):
            storage.read_bytes("s3://bucket/warm", storage.QUICK)  # boto3 is loaded
        began = time.monotonic()
        with pytest.raises(storage.Unavailable, match="s3://bucket/there"):
            storage.read_bytes("s3://bucket/there", settings)
    assert least <= time.monotonic() - began < (settings.retry_s or settings.read_timeout_s) + 1.5


@pytest.mark.slow
@pytest.mark.parametrize("part", ["output", "manifest"])
def test_a_store_that_does_not_answer_is_named_within_half_a_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """It takes connections and says nothing, as behind a firewall or a load balancer without a server."""
    manifest = tmp_path / "m.jsonl"
    manifest.write_text('{"video_uri": "v.mp4", "objects": [{"box": [1, 2, 3, 4]}]}\n')
    given = {"manifest": str(manifest), "output": str(tmp_path / "out"), part: "s3://bucket/there"}
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(64)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        began = time.monotonic()
        with pytest.raises(UsageError, match=f"--{part}: .*s3://bucket/there.*AWS_ENDPOINT_URL"):
            prepare(SegmentOptions(**given))
    assert time.monotonic() - began < 30
