"""Build a manifest: read labels, find their videos, write rows, and check them with the service's own reader."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.clip import ID_PATTERN
from pipeline.errors import UsageError
from pipeline.manifest import Manifest, read_manifest
from pipeline.manifest_builder.label_files import LABEL_SUFFIXES, LabelFile, find_labels, find_videos
from pipeline.manifest_builder.label_formats import FORMATS, FormatName, recognise, unknown
from pipeline.manifest_builder.labelled_video import LabelError, LabelledVideo
from pipeline.manifest_builder.match import match, video_stem
from pipeline.manifest_builder.starts import Converter, Ends, KeyFrames

OUTPUT_SUFFIXES = (".jsonl", ".ndjson", ".json", ".parquet")
SCHEMA = pa.schema(
    [
        ("clip_id", pa.string()),
        ("video_uri", pa.string()),
        (
            "objects",
            pa.list_(
                pa.struct(
                    [
                        ("object_id", pa.string()),
                        ("init_frame", pa.int64()),
                        ("end_frame", pa.int64()),
                        ("box", pa.list_(pa.float64())),
                        ("polygon", pa.list_(pa.float64())),
                        ("category", pa.string()),
                    ]
                )
            ),
        ),
    ]
)


@dataclass(frozen=True, slots=True)
class Built:
    """A manifest that was written.

    Attributes:
        manifest: as the service reads it.
        notes: what was passed over, one sentence each.
        videos_without: videos that no labels name.
        labels_without: labels whose video is not there, by the place they come from.
    """

    manifest: Manifest
    notes: tuple[str, ...]
    videos_without: tuple[str, ...]
    labels_without: tuple[str, ...]


def build_manifest(
    videos: str,
    labels: str,
    output: str,
    *,
    label_format: FormatName = "auto",
    keyframes: KeyFrames = "first",
    ends: Ends = "labelled",
) -> Built:
    """Build the manifest of the labelled videos; nothing is written unless all of it is right.

    Args:
        videos: URI of a video, or of a folder or bucket with videos.
        labels: URI of a file or ZIP of labels, or of a folder with them.
        output: URI of the manifest, JSON Lines or Parquet by its name.
        label_format: of the labels; "auto" goes by their content.
        keyframes: "first" starts each object once, on its first box; "all" starts it anew on each that was drawn.
        ends: "labelled" ends an object where the labels say that it is not to be seen any more, and starts it anew
            where it comes back; "ignore" tracks it to the clip's end.

    Raises:
        UsageError: labels, videos or names cannot be used; names the file and the place in it.
        StorageError: the storage cannot be read or written.
    """
    if not output.lower().endswith(OUTPUT_SUFFIXES):
        raise UsageError(f"--output {output}: expected a name that ends in {', '.join(OUTPUT_SUFFIXES)}")
    notes: list[str] = []
    read = read_labels(labels, label_format, notes)
    matched = match(find_videos(videos), read)
    if not matched.pairs:
        named = ", ".join(repr(labelled.names[0]) for labelled in matched.labels_without[:3]) or "none with a box"
        raise UsageError(
            f"no video of {storage.redact(videos)} has labels in {storage.redact(labels)}: they name {named}"
        )
    target = storage.parse(output).uri
    rows = list(_rows(matched.pairs, storage.parent(target), keyframes, ends, notes))
    if not rows:
        raise UsageError(f"{storage.redact(labels)}: all boxes lie beyond the ends of their videos: {notes[-1]}")
    manifest = _check_and_write(rows, target)
    return Built(
        manifest, tuple(notes), matched.videos_without, tuple(labelled.where for labelled in matched.labels_without)
    )


def read_labels(uri: str, label_format: FormatName, notes: list[str]) -> list[LabelledVideo]:
    """The labels of all files at a URI, those of each format together."""
    single = storage.entry(uri) is not None and not uri.lower().endswith(".zip")
    suffixes = LABEL_SUFFIXES if label_format == "auto" else FORMATS[label_format].suffixes
    groups: dict[str, list[LabelFile]] = {}
    unread: list[LabelError] = []
    for file in find_labels(uri, suffixes):
        try:
            name = recognise(file) if label_format == "auto" else label_format
        except LabelError as error:
            unread.append(error)
            continue
        if name is None:
            unread.append(LabelError(unknown(file)))
        else:
            groups.setdefault(name, []).append(file)
    if unread and (single or not groups):
        raise unread[0]
    notes += [f"{error}; passed over" for error in unread]
    return [video for name, files in groups.items() for video in FORMATS[name].read(files, notes)]


def _rows(
    pairs: Iterable[tuple[str, LabelledVideo]], folder: str, keyframes: KeyFrames, ends: Ends, notes: list[str]
) -> Iterator[dict[str, Any]]:
    pairs = list(pairs)
    stems = Counter(video_stem(uri) for uri, _ in pairs)
    for uri, labels in pairs:
        objects = Converter.of(uri, labels, notes).objects(labels, keyframes, ends)
        if not objects:
            continue
        inside = folder.rstrip("/") + "/"
        row: dict[str, Any] = {"video_uri": uri.removeprefix(inside), "objects": objects}
        stem = video_stem(uri)
        if stems[stem] == 1 and ID_PATTERN.fullmatch(stem):
            row["clip_id"] = stem
        yield row


def _check_and_write(rows: list[dict[str, Any]], target: str) -> Manifest:
    """Write the rows where the service's reader finds them good."""
    with tempfile.TemporaryDirectory(prefix="siammask-manifest-") as folder:
        path = Path(folder) / storage.name(target)
        if path.suffix.lower() == ".parquet":
            pq.write_table(pa.Table.from_pylist(rows, SCHEMA), path)
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        try:
            read_manifest(str(path), in_process=True)
        except UsageError as error:
            raise UsageError(str(error).replace(str(path), storage.redact(target))) from None
        storage.upload_file(path, target)
    return read_manifest(target, in_process=True)
