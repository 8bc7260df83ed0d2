"""Files on web servers: named hosts alone, redirects, broken connections, silence, secrets in queries."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline import storage
from pipeline.decode import ClipRequest, DecodeLimits, DecodeSettings, Failed, Finished
from pipeline.manifest import ManifestError, read_manifest
from pipeline.storage import named_hosts
from pipeline.storage.redact import redact_text
from tests.pipeline.storage.web_server import WebServer, serve
from tests.pipeline.videos import Read, make_video, read_clips

DATA = random.Random(0).randbytes(3_000_000)
SECRET = "x9secret"


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    """A server that is trusted and named."""
    monkeypatch.setenv("SIAMMASK_STORAGE_RETRY_S", "20")
    monkeypatch.setenv(storage.HTTP_HOSTS, "localhost")
    with serve(tmp_path, {"data.bin": DATA}) as server:
        monkeypatch.setenv("SSL_CERT_FILE", str(server.certificate))
        yield server


def read_from(uri: str, settings: DecodeSettings) -> Read:
    return read_clips([ClipRequest("c", uri)], settings)[0]


def test_a_file_is_read_and_downloaded(web: WebServer, tmp_path: Path) -> None:
    uri = web.uri("data.bin?v=2")
    assert storage.size(uri) == len(DATA)
    assert storage.read_bytes(uri) == DATA
    assert storage.download(uri, tmp_path / "d") == len(DATA) and (tmp_path / "d").read_bytes() == DATA
    assert storage.entry(web.uri("absent.bin")) is None
    with pytest.raises(storage.NotFound):
        storage.read_bytes(web.uri("absent.bin"))
    with storage.open_file(uri) as file:
        file.seek(1000)
        assert file.read(70_000) == DATA[1000:71_000] and file.size() == len(DATA)


def test_an_empty_file_has_no_first_byte(web: WebServer, tmp_path: Path) -> None:
    web.files["empty.bin"] = b""
    uri = web.uri("empty.bin")
    assert storage.size(uri) == 0 and storage.read_bytes(uri) == b""
    assert storage.download(uri, tmp_path / "d") == 0
    web.with_ranges = False
    assert storage.size(uri) == 0


@pytest.mark.parametrize(
    ("said", "year"),
    [("Tue, 02 Feb 2016 10:00:00 GMT", 2016), ("Tue, 02 Feb 2016 10:00:00 -0000", 2016), ("soon", None), ("", None)],
)
def test_when_a_file_changed_is_what_the_server_says_if_it_can_be_read(
    web: WebServer, said: str, year: int | None
) -> None:
    web.headers["Last-Modified"] = said
    entry = storage.entry(web.uri("data.bin"))
    assert entry is not None and entry.modified.tzinfo is not None
    assert entry.modified.year == (year or datetime.now(UTC).year)


@pytest.mark.parametrize("with_ranges", [True, False])
@pytest.mark.parametrize("with_etag", [True, False])
def test_a_connection_that_breaks_is_resumed(
    web: WebServer, tmp_path: Path, with_ranges: bool, with_etag: bool
) -> None:
    web.cuts, web.with_ranges, web.with_etag = {"data.bin": 3}, with_ranges, with_etag
    assert storage.download(web.uri("data.bin"), tmp_path / "d") == len(DATA)
    assert (tmp_path / "d").read_bytes() == DATA
    resumed = [asked for _, asked in web.requests if asked]
    assert len(web.requests) == 4 and len(resumed) == 3
    assert int(resumed[0].removeprefix("bytes=").removesuffix("-")) > len(DATA) // 3, "not from the beginning"


def test_a_file_that_changes_between_two_tries_is_read_anew(web: WebServer, tmp_path: Path) -> None:
    web.cuts, other = {"data.bin": 1}, DATA[::-1] + b"more"

    def change(_: int) -> None:
        web.files["data.bin"] = other

    assert storage.download(web.uri("data.bin"), tmp_path / "d", on_bytes=change) == len(other)
    assert (tmp_path / "d").read_bytes() == other


@pytest.mark.parametrize("hosts", ["", "example.org", "localhost:1", "ocalhost"])
def test_a_host_that_is_not_named_is_not_asked(web: WebServer, monkeypatch: pytest.MonkeyPatch, hosts: str) -> None:
    monkeypatch.setenv(storage.HTTP_HOSTS, hosts)
    with pytest.raises(storage.HostNotNamed, match="--http-hosts does not name the host localhost"):
        storage.read_bytes(web.uri("data.bin"))
    assert web.requests == []


def test_redirects_are_followed_among_named_hosts_alone(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    web.redirects = {
        "relative": "data.bin",
        "named": f"https://127.0.0.1:{web.port}/data.bin",
        "plain": f"http://localhost:{web.port}/data.bin",
        "metadata": "https://169.254.169.254/latest/meta-data",
        "file": "file:///etc/passwd",
        "loop": "loop",
    }
    assert storage.read_bytes(web.uri("relative")) == DATA
    with pytest.raises(storage.HostNotNamed, match=r"redirects, and --http-hosts does not name the host 127\.0\.0\.1"):
        storage.read_bytes(web.uri("named"))
    with pytest.raises(storage.HostNotNamed, match=r"does not name the host 169\.254\.169\.254"):
        storage.read_bytes(web.uri("metadata"))
    for path in ("plain", "file", "loop"):
        with pytest.raises(storage.StorageError, match="redirects"):
            storage.read_bytes(web.uri(path))
    monkeypatch.setenv(storage.HTTP_HOSTS, f"localhost,127.0.0.1:{web.port}")
    assert storage.read_bytes(web.uri("named")) == DATA


def test_a_named_host_at_a_link_local_address_is_not_asked(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the name of a host leads to a cluster's metadata service."""
    address = named_hosts.ipaddress.ip_address
    monkeypatch.setattr(named_hosts.ipaddress, "ip_address", lambda text: address("169.254.169.254"))
    with pytest.raises(storage.HostNotNamed, match=r"link-local address 169\.254\.169\.254"):
        storage.read_bytes(web.uri("data.bin"))
    assert web.requests == []


def test_a_server_that_stalls_is_given_up_within_the_time_for_retries(
    web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIAMMASK_STORAGE_RETRY_S", "3")
    web.stalled, began = {"data.bin"}, time.monotonic()
    with pytest.raises(storage.Unavailable, match="ReadTimeoutError"):
        storage.read_bytes(web.uri("data.bin"))
    assert time.monotonic() - began < 12


def test_a_certificate_that_nobody_knows_is_refused_at_once(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(storage.StorageError, match=r"certificate is not trusted.*SSL_CERT_FILE"):
        storage.read_bytes(web.uri("data.bin"))


def test_a_video_is_decoded_or_fails_by_name(
    web: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.files["v.mp4"] = make_video(tmp_path / "v.mp4", 8).read_bytes()
    uri = web.uri(f"v.mp4?key={SECRET}")
    scratch = DecodeSettings(in_process=True, scratch=str(tmp_path / "scratch"))
    read = read_from(uri, scratch)
    assert isinstance(read.end, Finished) and len(read.frames) == 8
    limits = DecodeLimits(max_file_bytes=100)
    small = DecodeSettings(in_process=True, scratch=scratch.scratch, limits=limits)
    web.files["broken.mp4"] = b"no video"
    failures = {
        "FileTooLarge": read_from(uri, small),
        "NotFound": read_from(web.uri(f"absent.mp4?key={SECRET}"), scratch),
        "InvalidData": read_from(web.uri(f"broken.mp4?key={SECRET}"), scratch),
    }
    monkeypatch.setenv(storage.HTTP_HOSTS, "example.org")
    failures["HostNotNamed"] = read_from(uri, scratch)
    for kind, failed in failures.items():
        assert isinstance(failed.end, Failed) and failed.end.error_type == kind
        assert SECRET not in failed.end.message and f"https://localhost:{web.port}/" in failed.end.message


def test_a_manifest_on_a_server(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"objects": [{"box": [1, 2, 3, 4]}]}
    lines = [{**row, "video_uri": "clips/a.mp4"}, {**row, "video_uri": f"https://localhost/b.mp4?key={SECRET}"}]
    web.files["set/m.jsonl"] = "\n".join(map(json.dumps, lines)).encode()
    uri = web.uri(f"set/m.jsonl?key={SECRET}")
    first, second = read_manifest(uri, in_process=True).clips()
    assert first.video_location == web.uri("set/clips/a.mp4")
    assert second.clip_id.startswith("b-") and second.video_location.endswith(SECRET)
    monkeypatch.setenv(storage.HTTP_HOSTS, f"localhost:{web.port}")
    with pytest.raises(ManifestError) as refused:
        read_manifest(uri, in_process=True)
    message = str(refused.value)
    assert "m.jsonl?***:2 video_uri" in message and "--http-hosts does not name the host localhost" in message
    assert SECRET not in message


def test_queries_of_web_servers_are_never_shown() -> None:
    assert storage.redact(f"https://h/v.mp4?a={SECRET}&b=1") == "https://h/v.mp4?***"
    assert SECRET not in redact_text(f"cannot read 'https://h/v.mp4?{SECRET}': gone")
    assert storage.redact("s3://b/what?.mp4") == "s3://b/what?.mp4"
