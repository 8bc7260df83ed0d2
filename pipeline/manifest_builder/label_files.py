"""The files that a manifest is built from: videos, and labels, which may lie in ZIP archives as tools export them."""

from __future__ import annotations

import io
import json
import posixpath
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from pipeline import storage
from pipeline.errors import UsageError
from pipeline.manifest_builder.labelled_video import LabelError

VIDEO_SUFFIXES = frozenset(
    (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg", ".flv")
    + (".wmv", ".asf", ".ogv", ".3gp", ".3g2", ".mxf", ".gif", ".y4m")
)
PICTURE_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp"))
LABEL_SUFFIXES = (".xml", ".json", ".ndjson", ".jsonl", ".txt", ".png")
MOST_BYTES = 1 << 30
# Names of files and folders that say what is in them and not of which video.
_GENERIC = frozenset(
    ("gt", "det", "anno", "ann", "annotation", "annotations", "label", "labels", "default", "instances_default")
    + ("groundtruth", "groundtruth_rect", "result", "results", "export", "img", "img1", "images", "imgs", "color")
    + ("frames", "obj_train_data", "train", "val", "test", "480p", "full-resolution")
)
# What lies beside labels in data sets and exports, and is none.
_BESIDE_LABELS = frozenset(
    ("labels.txt", "classes.txt", "det.txt", "readme.txt", "license.txt", "seqmap.txt", "list.txt", "nlp.txt")
    + ("full_occlusion.txt", "out_of_view.txt", "train.txt", "val.txt", "test.txt", "meta.json", "key_id_map.json")
)


@dataclass(slots=True)
class LabelFile:
    """A file of labels.

    Attributes:
        shown: what messages call it.
        path: its path, inside a ZIP below the archive's name without the suffix.
        load: reads the file, or another by its path relative to this one's folder (None where there is none).
    """

    shown: str
    path: str
    load: Callable[[str], bytes | None] = field(repr=False)
    _content: bytes | None = field(default=None, repr=False)
    _document: Any = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """Its name with the suffix."""
        return posixpath.basename(self.path)

    @property
    def stem(self) -> str:
        """Its name without the suffix."""
        return posixpath.splitext(self.name)[0]

    @property
    def suffix(self) -> str:
        """Of its name, in lower case, with the dot."""
        return posixpath.splitext(self.name)[1].lower()

    @property
    def folder(self) -> str:
        """The name of the nearest folder that says of what its files are: `S` of `S/gt/gt.txt`."""
        return next((name for name in reversed(self.path.split("/")[:-1]) if name.lower() not in _GENERIC), "")

    @property
    def sequence(self) -> str:
        """The name of the sequence by its path, as MOT has it: `S` of `S/gt/gt.txt`, `S/gt.txt` and `S.txt`."""
        return self.stem if self.stem.lower() not in _GENERIC else self.folder or self.stem

    @property
    def content(self) -> bytes:
        """The file's bytes, read once."""
        if self._content is None:
            self._content = self.load(self.name) or b""
        return self._content

    @property
    def lines(self) -> list[str]:
        """The file's lines as text."""
        return self.content.decode("utf-8-sig", "replace").splitlines()

    @property
    def document(self) -> Any:
        """The document of a JSON file, parsed once; a list where each line is one. Raises LabelError with the line."""
        if self._document is None:
            self._document = _parse_json(self.content, self.shown, lines=self.suffix in (".ndjson", ".jsonl"))
        return self._document

    def forget(self) -> None:
        """Give back the memory of what was read."""
        self._content = self._document = None


def _parse_json(content: bytes, shown: str, *, lines: bool) -> Any:
    line = 0
    try:
        if not lines:
            return json.loads(content)
        documents = []
        for text in content.splitlines():
            documents += [json.loads(text)] if text.strip() else []
            line += 1
        return documents
    except json.JSONDecodeError as error:
        raise LabelError(f"{shown}:{line + error.lineno}: expected JSON: {error.msg}") from None
    except UnicodeDecodeError as error:
        raise LabelError(f"{shown}: expected JSON in UTF-8: {error.reason}") from None
    except RecursionError:
        raise LabelError(f"{shown}: expected JSON, got one nested too deep") from None


def find_videos(uri: str) -> list[str]:
    """Absolute URIs of the videos at a URI: a file, or all below a folder or a bucket's prefix, by their suffix.

    Folders of pictures count as videos where there are no video files.

    Raises:
        UsageError: there is none.
        StorageError: the storage cannot be read.
    """
    if storage.entry(uri) is not None:
        return [storage.parse(uri).uri]
    videos: list[str] = []
    folders: set[str] = set()
    for entry in storage.list_files(uri):
        suffix = _suffix(entry.uri)
        if suffix in VIDEO_SUFFIXES:
            videos.append(entry.uri)
        elif suffix in PICTURE_SUFFIXES and "/annotations/" not in entry.uri.lower():
            folders.add(storage.parent(entry.uri).rstrip("/") + "/")
    videos = sorted(videos) or sorted(folders)
    if not videos:
        state = "holds no video" if storage.is_folder(uri) else "is not there"
        listed = ", ".join(sorted(VIDEO_SUFFIXES)[:4])
        raise UsageError(f"{storage.redact(uri)} {state}: expected a video, or a folder with {listed}, … files")
    return videos


def find_labels(uri: str, suffixes: tuple[str, ...] = LABEL_SUFFIXES) -> Iterator[LabelFile]:
    """The files that may be labels at a URI: a file of any name, those in a ZIP archive, or all below a folder.

    Args:
        uri: of the file, archive or folder.
        suffixes: of the names of files in archives and folders.

    Raises:
        UsageError: there is none.
        StorageError: the storage cannot be read.
    """
    single = storage.entry(uri)
    entries = [single] if single is not None else sorted(storage.list_files(uri), key=lambda entry: entry.uri)
    count = 0
    for entry in entries:
        name = posixpath.basename(entry.uri)
        if single is None and not _may_be_labels(name, (*suffixes, ".zip")):
            continue
        if entry.size > MOST_BYTES:
            raise LabelError(
                f"{storage.redact(entry.uri)}: expected a file of labels up to 1 GiB, got {entry.size} bytes"
            )
        for file in _opened(entry.uri, suffixes):
            count += 1
            yield file
    if not count:
        state = "holds no labels" if storage.is_folder(uri) or single else "is not there"
        raise UsageError(f"{storage.redact(uri)} {state}: expected {', '.join(LABEL_SUFFIXES)} or .zip files")


def _opened(uri: str, suffixes: tuple[str, ...]) -> Iterator[LabelFile]:
    shown = storage.redact(uri)
    if _suffix(uri) != ".zip":
        yield LabelFile(shown, uri, lambda path: _beside(uri, path))
        return
    try:
        archive = zipfile.ZipFile(io.BytesIO(storage.read_bytes(uri)))
    except zipfile.BadZipFile as error:
        raise LabelError(f"{shown}: expected a ZIP archive: {error}") from None
    for member in archive.infolist():
        if member.is_dir() or not _may_be_labels(posixpath.basename(member.filename), suffixes):
            continue
        if member.file_size > MOST_BYTES:
            raise LabelError(f"{shown}: {member.filename}: expected a file of labels up to 1 GiB")
        path = posixpath.join(posixpath.splitext(uri)[0], member.filename)
        yield LabelFile(f"{shown}/{member.filename}", path, _Member(archive, member.filename, shown))


@dataclass(frozen=True, slots=True)
class _Member:
    """Reads the files of an archive by their path relative to one of them."""

    archive: zipfile.ZipFile
    name: str
    shown: str

    def __call__(self, path: str) -> bytes | None:
        name = posixpath.normpath(posixpath.join(posixpath.dirname(self.name), path))
        try:
            return self.archive.read(name)
        except KeyError:
            return None
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
            raise LabelError(f"{self.shown}: {name}: expected a ZIP archive that can be read: {error}") from None


def _beside(uri: str, path: str) -> bytes | None:
    if path == posixpath.basename(uri):
        return storage.read_bytes(uri)
    folder = storage.parent(uri)
    while path.startswith("../"):
        folder, path = storage.parent(folder), path.removeprefix("../")
    target = storage.join(folder, path)
    return storage.read_bytes(target) if storage.entry(target) is not None else None


def _may_be_labels(name: str, suffixes: tuple[str, ...]) -> bool:
    return name.lower().endswith(suffixes) and name.lower() not in _BESIDE_LABELS and not name.startswith(".")


def _suffix(uri: str) -> str:
    return posixpath.splitext(uri)[1].lower()
