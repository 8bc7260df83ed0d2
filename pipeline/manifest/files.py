"""The files of a manifest, and the pieces in which workers read them."""

from __future__ import annotations

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


@dataclass(frozen=True, slots=True)
class Piece:
    """The part of a file whose lines, or row groups, begin in the half-open range of bytes."""

    file: ManifestFile
    start: int
    end: int


def list_manifest(uri: str) -> list[ManifestFile]:
    """The files of a manifest: the file itself, those directly in a folder, or those that match a glob.

    In a folder, names that begin with a dot or an underscore, and other suffixes, are passed over.

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
    found = sorted((entry for entry in entries if _suffix(entry.uri) in FORMATS), key=lambda entry: entry.uri)
    if found:
        return _usable(found, uri)
    if pattern:
        got = "nothing that matches the glob"
    else:
        got = "a folder without any" if storage.is_folder(uri) else "no such file or folder"
    raise ManifestError([Problem("", f"a manifest: a file, folder or glob of {SUFFIXES}", got, file=uri)])


def cut(files: Iterable[ManifestFile]) -> Iterator[Piece]:
    """Cut files into pieces, in order.

    A CSV stays whole: a quoted value may contain line ends, and the rows of one clip need not be adjacent.
    """
    for file in files:
        step = file.size if file.format == "csv" else PIECE_BYTES
        for start in range(0, file.size, step):
            yield Piece(file, start, min(start + step, file.size))


def batches(pieces: Iterable[Piece]) -> Iterator[tuple[Piece, ...]]:
    """Bring small pieces together, so that a folder of many small files is not as many tasks."""
    batch: list[Piece] = []
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
        kind = FORMATS.get(_suffix(entry.uri))
        if kind is None:
            problems.append(Problem("", f"a file named {SUFFIXES}", show(storage.name(entry.uri)), file=entry.uri))
        elif entry.size == 0:
            problems.append(Problem("", "1 row or more", "an empty file", file=entry.uri))
        else:
            files.append(ManifestFile(entry.uri, entry.size, kind))
    if problems:
        raise ManifestError(problems[:MAX_PROBLEMS])
    return files


def _suffix(uri: str) -> str:
    name = uri.rsplit("/", 1)[-1]
    return name[name.rfind(".") :].lower() if "." in name else ""
