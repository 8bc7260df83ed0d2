"""The files of a manifest, and the pieces in which workers read them."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from pipeline import storage
from pipeline.manifest.problems import MAX_PROBLEMS, ManifestError, Problem, show

Format = Literal["lines", "parquet", "csv"]

FORMATS: dict[str, Format] = {
    ".jsonl": "lines",
    ".ndjson": "lines",
    ".json": "lines",
    ".parquet": "parquet",
    ".csv": "csv",
}
SUFFIXES = ".jsonl, .ndjson, .json, .parquet or .csv"
_GZIP = ".gz"
BEGINNING = 1 << 12
"""So many bytes tell what a file of JSON is."""
PIECE_BYTES = 8 << 20
"""About as much of a manifest is read by one task: a second of work, a few tens of MB in memory."""


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """One file of a manifest; `size` in bytes."""

    uri: str
    size: int
    format: Format

    @property
    def folder(self) -> str:
        """URI of the folder that holds it, from which relative video URIs are seen."""
        return storage.parent(self.uri)

    @property
    def compressed(self) -> bool:
        """Whether it is gzipped text, which can only be read from its beginning."""
        return storage.name(self.uri).lower().endswith(_GZIP)


@dataclass(frozen=True, slots=True)
class ManifestPiece:
    """The part of a file whose lines, or row groups, begin in the half-open range of bytes."""

    file: ManifestFile
    start: int
    end: int


def list_manifest(uri: str) -> list[ManifestFile]:
    """The files of a manifest: the file itself, those directly in a folder, or those that match a glob.

    In a folder, names that begin with a dot or an underscore, and other suffixes, are passed over; in a folder or
    glob also empty files beside others, which Spark writes for empty partitions.

    Args:
        uri: `s3://` URI, local path or `file://`; `*`, `?`, `[...]`, and `**` for any depth, in its path.

    Returns:
        Files in the order of their URIs.

    Raises:
        ManifestError: There is nothing to read, a file is empty, or it is of no known kind.
        StorageError: The storage cannot be read.
    """
    single = storage.entry(uri)
    if single is not None:
        return _usable([single], uri)
    pattern = any(char in uri for char in "*?[")
    entries = storage.glob(uri) if pattern else _children(storage.parse(uri).uri)
    usable = sorted((entry for entry in entries if _format(entry.uri)), key=lambda entry: entry.uri)
    if usable:
        return _usable([entry for entry in usable if entry.size] or usable, uri)
    if pattern:
        got = "nothing that matches the glob"
    else:
        got = "a folder without any" if storage.is_folder(uri) else "no such file or folder"
    raise ManifestError([Problem("", f"a manifest: a file, folder or glob of {SUFFIXES}", got, file=uri)])


def cut(files: Iterable[ManifestFile]) -> Iterator[ManifestPiece]:
    """Cut files into pieces, in order.

    A CSV stays whole: a quoted value may contain line ends, and the rows of one clip need not be adjacent. So do
    compressed files and JSON arrays.
    """
    for file in files:
        whole = file.size <= PIECE_BYTES or file.format == "csv" or file.compressed
        step = file.size if whole or (file.format == "lines" and _is_array(file)) else PIECE_BYTES
        for start in range(0, file.size, step):
            yield ManifestPiece(file, start, min(start + step, file.size))


def begins_array(data: bytes) -> bool:
    """Whether JSON that begins with these bytes is one array in place of lines."""
    return data.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"[")


def _is_array(file: ManifestFile) -> bool:
    with storage.reporting(file.uri, "read"), storage.open_file(file.uri) as source:
        return begins_array(source.read(BEGINNING))


def batches(pieces: Iterable[ManifestPiece]) -> Iterator[tuple[ManifestPiece, ...]]:
    """Bring small pieces together, so that a folder of many small files is not as many tasks."""
    batch: list[ManifestPiece] = []
    size = 0
    for piece in pieces:
        if batch and size + piece.end - piece.start > PIECE_BYTES:
            yield tuple(batch)
            batch, size = [], 0
        batch.append(piece)
        size += piece.end - piece.start
    if batch:
        yield tuple(batch)


def _children(folder: str) -> Iterator[storage.Entry]:
    skip = len(folder.rstrip("/")) + 1
    for entry in storage.list_files(folder):
        name = entry.uri[skip:]
        if "/" not in name and name[0] not in "._":
            yield entry


def _usable(entries: list[storage.Entry], uri: str) -> list[ManifestFile]:
    problems = []
    files = []
    for entry in entries:
        kind = _format(entry.uri)
        if kind is None:
            expected = f"a file named {SUFFIXES}; text may be gzipped ({_GZIP})"
            problems.append(Problem("", expected, show(storage.name(entry.uri)), file=entry.uri))
        elif entry.size == 0:
            problems.append(Problem("", "1 row or more", "an empty file", file=entry.uri))
        else:
            files.append(ManifestFile(entry.uri, entry.size, kind))
    if problems:
        raise ManifestError(problems[:MAX_PROBLEMS])
    return files


def _format(uri: str) -> Format | None:
    name = storage.name(uri).lower()
    kind = FORMATS.get(_suffix(name.removesuffix(_GZIP)))
    return None if kind == "parquet" and name.endswith(_GZIP) else kind


def _suffix(name: str) -> str:
    return name[name.rfind(".") :] if "." in name else ""
