"""Files on web servers, read only: over https, from hosts that the operator has named, redirects included.

A manifest is others' data and must not reach what only this machine can: a host that is not named is refused by name
wherever it comes up, and so is a named one whose address is link-local, as a cluster's metadata service is.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, TypeVar
from urllib.parse import urljoin

import pyarrow as pa
import urllib3
from pyarrow import fs
from urllib3.exceptions import HTTPError, SSLError

from pipeline.storage.errors import AccessDenied, HostNotNamed, NotFound, StorageError, Unavailable
from pipeline.storage.named_hosts import not_named, pools, require_named
from pipeline.storage.retry import retrying
from pipeline.storage.settings import Settings
from pipeline.storage.store import Entry, OnBytes, Versioned, too_large
from pipeline.storage.uris import Location, parse

Result = TypeVar("Result")

_CHUNK = 256 << 10
_MOST_REDIRECTS = 5
_MOVED = {301, 302, 303, 307, 308}
_NO_SUCH_RANGE = 416  # to the first byte of an empty file
_BUSY = {408, 425, 429}
_ADVICE = "check the URI, the server and the network, then run again"


class HttpsStore:
    """The `Store` of `https://` locations; what would list or write is refused."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def filesystem(self, location: Location) -> tuple[fs.FileSystem, str]:
        """Refused; see `open`."""
        _refuse(location, "read a table from")

    def open(self, location: Location) -> pa.NativeFile:
        """A file that fetches pieces as they are read."""
        entry = self.entry(location)
        if entry is None:
            raise NotFound(location.uri, "open", "HTTP 404", "there is no such file; correct the URI")
        return pa.PythonFile(io.BufferedReader(_Pieces(self, location, entry.size), _CHUNK), mode="r")

    def entry(self, location: Location) -> Entry | None:
        """Size and age of the file, or None where there is none."""

        def look(left_s: float) -> Entry:
            with self._get(location, "look at", left_s, {"Range": "bytes=0-0"}) as answer:
                size = _total(answer)
                if size is None:
                    size = sum(map(len, answer.stream(_CHUNK)))
                return Entry(location.uri, size, _modified(answer), answer.headers.get("ETag", ""))

        try:
            return self._run(location, "look at", look)
        except NotFound:
            return None

    def entries(self, folder: Location, below: str) -> Iterator[Entry]:
        """None: a web server lists no folders."""
        return iter(())

    def read(self, location: Location) -> Versioned:
        """The file's bytes; its version is empty where the server tells none."""
        memory = io.BytesIO()
        version = self._fetch(location, "read", memory, None, None)
        return Versioned(memory.getvalue(), version)

    def piece(self, location: Location, start: int, end: int) -> tuple[int, bytes]:
        """Bytes [start, end) and 0, or the whole file and `start` where the server sends no pieces."""

        def get(left_s: float) -> tuple[int, bytes]:
            with self._get(location, "read", left_s, {"Range": f"bytes={start}-{end - 1}"}) as answer:
                return (0 if answer.status == 206 else start), answer.read()

        return self._run(location, "read", get)

    def download(self, location: Location, path: Path, max_bytes: int | None, on_bytes: OnBytes | None) -> int:
        """Streams the file into `path`, going on after a broken connection where it stopped."""
        with open(path, "wb") as file:
            self._fetch(location, "download", file, max_bytes, on_bytes)
            return file.tell()

    def upload(self, location: Location, path: Path) -> None:
        """Refused."""
        _refuse(location, "write")

    def create(self, location: Location, data: bytes) -> str | None:
        """Refused."""
        _refuse(location, "write")

    def replace(self, location: Location, data: bytes, version: str) -> str | None:
        """Refused."""
        _refuse(location, "write")

    def delete(self, places: Iterable[Location]) -> None:
        """Refused."""
        for location in places:
            _refuse(location, "delete")

    def abort_uploads(self, folder: Location) -> int:
        """Refused."""
        _refuse(folder, "list the uploads of")

    def _fetch(
        self, location: Location, action: str, file: BinaryIO, max_bytes: int | None, on_bytes: OnBytes | None
    ) -> str:
        """Writes the whole file, by as many requests as it takes; returns its version."""
        version, total = "", None

        def get(left_s: float) -> str:
            nonlocal version, total
            done = file.tell()
            rest = {"Range": f"bytes={done}-", **({"If-Range": version} if version else {})} if done else {}
            with self._get(location, action, left_s, rest) as answer:
                known = _total(answer)
                if done and (answer.status != 206 or _first_byte(answer) != done or known != total):
                    file.seek(0)
                    file.truncate()
                    if answer.status == 206:
                        raise Unavailable(location.uri, action, "it changed while it was read", "run again")
                version, total = _version(answer), known
                if max_bytes is not None and (total or 0) > max_bytes:
                    raise too_large(location, total or 0, max_bytes)
                for chunk in answer.stream(_CHUNK):
                    file.write(chunk)
                    if max_bytes is not None and file.tell() > max_bytes:
                        raise too_large(location, file.tell(), max_bytes)
                    if on_bytes is not None:
                        on_bytes(len(chunk))
            if total is not None and file.tell() != total:
                raise Unavailable(location.uri, action, f"{file.tell()} of {total} bytes came", _ADVICE)
            return version

        return self._run(location, action, get, file.tell)

    def _run(
        self,
        location: Location,
        action: str,
        operation: Callable[[float], Result],
        progress: Callable[[], int] | None = None,
    ) -> Result:
        """Calls `operation` with the seconds that are left for it, and again while that may help."""
        began, furthest = time.monotonic(), progress() if progress else 0

        def attempt() -> Result:
            nonlocal began, furthest
            if progress and progress() > furthest:
                began, furthest = time.monotonic(), progress()
            try:
                return operation(self.settings.retry_s - (time.monotonic() - began))
            except SSLError as error:
                if "CERTIFICATE_VERIFY_FAILED" not in str(error):
                    raise Unavailable(location.uri, action, "SSLError", _ADVICE) from None
                advice = "have its authority in the file that SSL_CERT_FILE names"
                raise StorageError(location.uri, action, "the server's certificate is not trusted", advice) from None
            except HTTPError as error:
                raise Unavailable(location.uri, action, type(error).__name__, _ADVICE) from None

        return retrying(location.uri, action, self.settings.retry_s, attempt, progress)

    @contextmanager
    def _get(self, location: Location, action: str, left_s: float, headers: dict[str, str]) -> Iterator[Any]:
        """The server's answer, its redirects followed as far as all hosts are named."""
        limits = self.settings.within(left_s)
        timeout = urllib3.Timeout(connect=limits.connect_timeout_s, read=limits.read_timeout_s)
        require_named(location, self.settings.http_hosts)
        place = location
        for _ in range(_MOST_REDIRECTS + 1):
            answer = pools(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")).request(
                "GET",
                place.uri,
                headers={"Accept-Encoding": "identity", **headers},
                timeout=timeout,
                redirect=False,
                retries=False,
                preload_content=False,
            )
            try:
                if answer.status not in _MOVED:
                    _check_status(location, action, answer.status)
                    yield answer
                    return
                target = urljoin(place.uri, answer.headers.get("Location", ""))
            finally:
                answer.close()
            try:
                place = parse(target)
            except StorageError as error:
                raise StorageError(location.uri, action, f"it redirects: {error.cause}", _ADVICE) from None
            if place.scheme != "https":
                raise not_named(location, f"it redirects to {place.scheme}, which is not https")
            try:
                require_named(place, self.settings.http_hosts)
            except HostNotNamed as error:
                raise not_named(location, f"it redirects, and {error.cause}") from None
        raise StorageError(location.uri, action, f"it redirects more than {_MOST_REDIRECTS} times", _ADVICE)


class _Pieces(io.RawIOBase):
    """A file on a web server, read in pieces."""

    def __init__(self, store: HttpsStore, location: Location, size: int) -> None:
        super().__init__()
        self._store, self._location, self._size, self._place = store, location, size, 0
        self._whole: bytes | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        return self._place

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: Any) -> int:
        end = min(self._place + len(buffer), self._size)
        if end <= self._place:
            return 0
        if self._whole is None:
            offset, data = self._store.piece(self._location, self._place, end)
            self._whole = data if offset or len(data) > end - self._place else None
        if self._whole is not None:
            data = self._whole[self._place : end]
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)


def _check_status(location: Location, action: str, status: int) -> None:
    cause = f"HTTP {status}"
    if status in (200, 206) or (status == _NO_SUCH_RANGE and action == "look at"):
        return
    if status in (404, 410):
        raise NotFound(location.uri, action, cause, "there is no such file; correct the URI")
    if status in (401, 403, 407):
        raise AccessDenied(location.uri, action, cause, "the server does not give it to everybody; use another URI")
    if status in _BUSY or status >= 500:
        raise Unavailable(location.uri, action, cause, _ADVICE)
    raise StorageError(location.uri, action, cause, _ADVICE)


def _total(answer: Any) -> int | None:
    """Bytes of the whole file, None where the server does not say."""
    if answer.status in (206, _NO_SUCH_RANGE):
        total = answer.headers.get("Content-Range", "").rpartition("/")[2]
    else:
        total = answer.headers.get("Content-Length", "")
    return int(total) if total.isdigit() else None


def _modified(answer: Any) -> datetime:
    """When the file changed last, as the server says; now where it does not, or not as servers do."""
    try:
        changed = parsedate_to_datetime(answer.headers.get("Last-Modified", ""))
    except ValueError:
        return datetime.now(UTC)
    return changed if changed.tzinfo else changed.replace(tzinfo=UTC)


def _first_byte(answer: Any) -> int | None:
    first = answer.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    return int(first) if first.isdigit() else None


def _version(answer: Any) -> str:
    """What `If-Range` may have: a strong ETag or a date."""
    etag = answer.headers.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else answer.headers.get("Last-Modified", "")


def _refuse(location: Location, action: str) -> NoReturn:
    raise StorageError(location.uri, action, "https:// is for reading files", "use s3://, gs:// or a local path")
