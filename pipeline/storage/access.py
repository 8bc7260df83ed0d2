"""The functions of `pipeline.storage`: each takes a URI and acts on the store that the URI belongs to."""

from __future__ import annotations

import contextlib
import fnmatch
import os
import re
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import replace as with_fields
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from pipeline.storage.errors import TRANSLATED, NotFound, StorageError, Unavailable, translate
from pipeline.storage.https import HttpsStore
from pipeline.storage.local import TEMPORARY_SUFFIX, LocalStore
from pipeline.storage.named_hosts import require_named
from pipeline.storage.s3 import S3Store
from pipeline.storage.settings import CHECKING, QUICK, Settings
from pipeline.storage.store import Entry, OnBytes, Store, Versioned
from pipeline.storage.uris import Location, join, parse


def filesystem_for(uri: str) -> tuple[fs.FileSystem, str]:
    """pyarrow's file system for a URI and the path in it, with the endpoint and identity of all else here.

    pyarrow's own errors are plain OSErrors; `reporting` turns them into StorageError.
    """
    store, location = _store(uri)
    return store.filesystem(location)


def open_file(uri: str) -> pa.NativeFile:
    """A file to read from and to seek in. Raises NotFound; what reading raises `reporting` turns into StorageError."""
    store, location = _store(uri)
    if isinstance(store, HttpsStore):
        return store.open(location)
    filesystem, path = store.filesystem(location)
    with reporting(uri, "open"):
        return filesystem.open_input_file(path)


def open_stream(uri: str) -> pa.NativeFile:
    """A file to read once from its beginning, decompressed as the end of its name says; otherwise as `open_file`."""
    store, location = _store(uri)
    if isinstance(store, HttpsStore):
        file = store.open(location)
        return pa.CompressedInputStream(file, "gzip") if location.path.lower().endswith(".gz") else file
    filesystem, path = store.filesystem(location)
    with reporting(uri, "open"):
        return filesystem.open_input_stream(path)


def require_named_host(uri: str) -> None:
    """Raises HostNotNamed where a URI is of a web server that `--http-hosts` does not name."""
    require_named(parse(uri), Settings.from_environment().http_hosts)


@contextlib.contextmanager
def reporting(uri: str, action: str) -> Iterator[None]:
    """Turns pyarrow's, boto3's and the system's errors inside the block into `StorageError` for this URI."""
    try:
        yield
    except TRANSLATED as error:
        raise translate(uri, action, error) from None


def entry(uri: str, settings: Settings | None = None) -> Entry | None:
    """Size and age of an object or file; None where there is none (a folder is none)."""
    store, location = _store(uri, settings)
    return store.entry(location)


def exists(uri: str) -> bool:
    """Whether there is an object or file of this name."""
    return entry(uri) is not None


def size(uri: str) -> int:
    """Size in bytes. Raises NotFound."""
    known = entry(uri)
    if known is None:
        raise NotFound(uri, "look at", "absent", "there is no such object or file; correct the URI")
    return known.size


def is_folder(uri: str) -> bool:
    """Whether anything lies below this URI, or, locally, whether it is a folder."""
    location = parse(uri)
    return (location.is_local and os.path.isdir(location.key)) or any(True for _ in list_files(uri))


def list_files(folder: str, below: str = "", settings: Settings | None = None) -> Iterator[Entry]:
    """The files at any depth below a folder, as a stream; none where the folder does not exist.

    Args:
        folder: URI of the folder.
        below: only files whose path inside the folder starts with this ("masks/part-").
    """
    store, location = _store(folder, settings)
    return store.entries(location, below)


def glob(pattern: str) -> Iterator[Entry]:
    """The files that match a URI with `*`, `?` or `[...]`; `*` stops at a slash, `**` does not."""
    location = parse(pattern)
    fixed = re.split(r"[*?\[]", location.key, maxsplit=1)[0]
    folder, _, start = fixed.rpartition("/")
    expression = re.compile(_translate_glob(location.key[len(folder) + 1 if folder or location.is_local else 0 :]))
    base = with_fields(location, key=folder or ("/" if location.is_local else ""))
    skip = len(base.uri.rstrip("/")) + 1
    for file in list_files(base.uri, start):
        if expression.fullmatch(file.uri[skip:]):
            yield file


def read_bytes(uri: str, settings: Settings | None = None) -> bytes:
    """The whole content. Raises NotFound."""
    return read_versioned(uri, settings).data


def read_versioned(uri: str, settings: Settings | None = None) -> Versioned:
    """The whole content with the version that `replace` needs. Raises NotFound."""
    store, location = _store(uri, settings)
    return store.read(location)


def download(
    uri: str,
    path: str | os.PathLike[str],
    *,
    max_bytes: int | None = None,
    on_bytes: OnBytes | None = None,
    settings: Settings | None = None,
) -> int:
    """Streams an object to a local file, which appears only when it is whole; returns its size in bytes.

    Args:
        uri: the object.
        path: the local file; its folder must exist.
        max_bytes: limit on the object's size, checked before the first byte (TooLarge).
        on_bytes: called with the size of each piece received; what it raises stops the download.
    """
    store, location = _store(uri, settings)
    target = Path(path)
    with reporting(str(target), "write"):
        handle, temporary = tempfile.mkstemp(
            prefix=f".{target.name[:100]}.", suffix=TEMPORARY_SUFFIX, dir=target.parent
        )
        os.close(handle)
    try:
        count = store.download(location, Path(temporary), max_bytes, on_bytes)
        with reporting(str(target), "write"):
            os.replace(temporary, target)
        return count
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def upload_file(path: str | os.PathLike[str], uri: str, settings: Settings | None = None) -> None:
    """Copies a local file to a URI, replacing what is there; readers see the old or the whole new one."""
    store, location = _store(uri, settings)
    with reporting(str(path), "read"), open(path, "rb"):
        pass
    store.upload(location, Path(path))


def write_bytes(uri: str, data: bytes) -> None:
    """Writes bytes to a URI, replacing what is there; readers see the old or the whole new ones."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        upload_file(file.name, uri)


def create(uri: str, data: bytes, settings: Settings | None = None) -> str | None:
    """Writes a new object only if there is none: of many writers exactly one wins.

    Returns:
        The version of the object for the winner, None for all others. A retry after a lost answer still wins.
    """
    store, location = _store(uri, settings)
    return store.create(location, data)


def replace(uri: str, data: bytes, version: str, settings: Settings | None = None) -> str | None:
    """Overwrites an object only if it still has `version`; the new version, or None where it has not."""
    store, location = _store(uri, settings)
    return store.replace(location, data, version)


def delete_many(uris: Iterable[str], settings: Settings | None = None) -> None:
    """Deletes objects or files; absent ones are no error."""
    places: dict[str, list[str]] = {}
    for uri in uris:
        location = parse(uri)
        places.setdefault("file" if location.is_local else location.scheme, []).append(uri)
    for uris_of_scheme in places.values():
        store, _ = _store(uris_of_scheme[0], settings)
        store.delete(map(parse, uris_of_scheme))


def abort_uploads(folder: str) -> int:
    """Removes what killed writers left below a folder (temporary files, unfinished uploads); how many.

    Uploads that are still going on there fail too, so only the holder of the folder's lease may call it.
    """
    store, location = _store(folder)
    return store.abort_uploads(location)


def check_writable(folder: str, settings: Settings | None = None) -> bool:
    """Writes, overwrites and deletes a probe object below a folder.

    Returns:
        Whether the store honours conditional writes. Without them two runs into one output could both believe to
        hold it.

    Raises:
        StorageError: any of these is refused; the error names the folder's object that was tried.
    """
    uri = join(folder, f"_probe-{uuid.uuid4().hex}")
    try:
        first = create(uri, b"1", settings)
    except Unavailable:  # it may have arrived nevertheless; a store that is out of reach is not waited for twice
        with contextlib.suppress(StorageError):
            delete_many([uri], QUICK)
        raise
    try:
        again = create(uri, b"2", settings)
        wrong = replace(uri, b"3", "0" * 32, settings)
        right = replace(uri, b"4", read_versioned(uri, settings).version, settings)
        read_back = read_bytes(uri, settings)
    finally:
        delete_many([uri], settings)
    return first is not None and again is None and wrong is None and right is not None and read_back == b"4"


def require_reachable(uri: str) -> None:
    """Raises Unavailable, in less than half a minute, where the store of a URI does not answer.

    Whatever else the store says of the URI is for those who read it to find out.
    """
    try:
        entry(uri, CHECKING)
    except Unavailable:
        raise
    except StorageError:
        return


def _store(uri: str, settings: Settings | None = None) -> tuple[Store, Location]:
    location = parse(uri)
    chosen = settings or Settings.from_environment()
    if location.scheme == "https":
        return HttpsStore(chosen), location
    return (LocalStore(chosen) if location.is_local else S3Store(chosen.of_scheme(location.scheme))), location


def _translate_glob(pattern: str) -> str:
    pieces = re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]]*\])", pattern)
    known = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(
        known.get(piece)
        or (
            fnmatch.translate(piece).removesuffix(r"\z").removesuffix(r"\Z")
            if piece.startswith("[") and piece.endswith("]")
            else re.escape(piece)
        )
        for piece in pieces
    )
