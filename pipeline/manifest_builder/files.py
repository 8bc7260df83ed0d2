"""The files that a manifest is built from: videos, and labels, which may lie in ZIP archives as tools export them."""

from __future__ import annotations

import io
import posixpath
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field

from pipeline import storage
from pipeline.manifest_builder.labels import LabelError
from pipeline.options import UsageError

VIDEO_SUFFIXES = frozenset(
    (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg", ".flv")
    + (".wmv", ".asf", ".ogv", ".3gp", ".3g2", ".mxf", ".gif", ".y4m")
)
_LABEL_SUFFIXES = (".xml", ".json", ".txt", ".zip")
_NO_LABELS = frozenset(("labels.txt", "det.txt", "readme.txt", "seqmap.txt"))
MOST_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class LabelFile:
    """A file of labels.

    Attributes:
        shown: what messages call it.
        suffix: of its name, in lower case, with the dot.
        sequence: the name of the sequence by its path, as MOT has it: `S` of `S/gt/gt.txt`, `S/gt.txt` and `S.txt`.
        content: the file.
    """

    shown: str
    suffix: str
    sequence: str
    content: bytes = field(repr=False)


def find_videos(uri: str) -> list[str]:
    """Absolute URIs of the video files at a URI: a file, or all below a folder or a bucket's prefix, by their suffix.

    Raises:
        UsageError: there is none.
        StorageError: the storage cannot be read.
    """
    if storage.entry(uri) is not None:
        return [storage.parse(uri).uri]
    found = sorted(entry.uri for entry in storage.list_files(uri) if _suffix(entry.uri) in VIDEO_SUFFIXES)
    if not found:
        what = "holds no video" if storage.is_folder(uri) else "is not there"
        raise UsageError(f"{storage.redact(uri)} {what}: expected a video, or a folder with {_listed()} files")
    return found


def find_labels(uri: str) -> Iterator[LabelFile]:
    """The files of labels at a URI: a file, a ZIP archive, or all below a folder.

    Raises:
        UsageError: there is none.
        StorageError: the storage cannot be read.
    """
    single = storage.entry(uri)
    entries = [single] if single is not None else sorted(storage.list_files(uri), key=lambda entry: entry.uri)
    count = 0
    for entry in entries:
        name = posixpath.basename(entry.uri)
        if single is None and not _is_labels(name):
            continue
        if entry.size > MOST_BYTES:
            raise LabelError(
                f"{storage.redact(entry.uri)}: expected a file of labels up to 1 GiB, got {entry.size} bytes"
            )
        for file in _opened(entry.uri, storage.read_bytes(entry.uri)):
            count += 1
            yield file
    if not count:
        what = "holds no labels" if storage.is_folder(uri) else "is not there"
        raise UsageError(
            f"{storage.redact(uri)} {what}: expected .xml (CVAT), .json (Label Studio, COCO), .txt (MOT) or .zip"
        )


def _opened(uri: str, content: bytes) -> Iterator[LabelFile]:
    shown = storage.redact(uri)
    if _suffix(uri) != ".zip":
        yield LabelFile(shown, _suffix(uri), _sequence(uri), content)
        return
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for member in archive.infolist():
                if not member.is_dir() and _is_labels(posixpath.basename(member.filename)):
                    if member.file_size > MOST_BYTES:
                        raise LabelError(f"{shown}: {member.filename}: expected a file of labels up to 1 GiB")
                    path = posixpath.join(posixpath.splitext(uri)[0], member.filename)
                    yield LabelFile(f"{shown}/{member.filename}", _suffix(path), _sequence(path), archive.read(member))
    except zipfile.BadZipFile as error:
        raise LabelError(f"{shown}: expected a ZIP archive: {error}") from None


def _is_labels(name: str) -> bool:
    return name.lower().endswith(_LABEL_SUFFIXES) and name.lower() not in _NO_LABELS and not name.startswith(".")


def _sequence(path: str) -> str:
    folder, name = posixpath.split(path)
    if name != "gt.txt":
        return posixpath.splitext(name)[0]
    parent = posixpath.basename(folder)
    return posixpath.basename(posixpath.dirname(folder)) if parent == "gt" else parent


def _suffix(uri: str) -> str:
    return posixpath.splitext(uri)[1].lower()


def _listed() -> str:
    return ", ".join(sorted(VIDEO_SUFFIXES)[:4]) + ", …"
