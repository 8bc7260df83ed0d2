"""Build a manifest: read labels, find their videos, write rows, and check them with the service's own reader."""

from __future__ import annotations

import json
import posixpath
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.clips import ID_PATTERN
from pipeline.decode.errors import VideoError
from pipeline.decode.probe import probe
from pipeline.manifest import Manifest, read_manifest
from pipeline.manifest_builder.coco_video import read_coco_video
from pipeline.manifest_builder.cvat import read_cvat
from pipeline.manifest_builder.files import LabelFile, find_labels, find_videos
from pipeline.manifest_builder.label_studio import read_label_studio
from pipeline.manifest_builder.labels import LabelError, LabelledBox, LabelledObject, LabelledVideo
from pipeline.manifest_builder.match import match
from pipeline.manifest_builder.mot import read_mot
from pipeline.options import UsageError
from pipeline.staging import staged

Format = Literal["auto", "cvat", "label-studio", "coco-video", "mot"]
KeyFrames = Literal["first", "all"]
READERS: dict[str, Callable[[LabelFile, list[str]], list[LabelledVideo]]] = {
    "cvat": read_cvat,
    "label-studio": read_label_studio,
    "coco-video": read_coco_video,
    "mot": read_mot,
}
_SUFFIXES = {".xml": ("cvat",), ".json": ("label-studio", "coco-video"), ".txt": ("mot",)}
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
                        ("box", pa.list_(pa.float64())),
                        ("polygon", pa.list_(pa.float64())),
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
    videos: str, labels: str, output: str, *, label_format: Format = "auto", keyframes: KeyFrames = "first"
) -> Built:
    """Build the manifest of the labelled videos; nothing is written unless all of it is right.

    Args:
        videos: URI of a video, or of a folder or bucket with videos.
        labels: URI of a file or ZIP of labels, or of a folder with them.
        output: URI of the manifest, JSON Lines or Parquet by its name.
        label_format: of the labels; "auto" goes by their content.
        keyframes: "first" starts each object once, on its first box; "all" starts it anew on each that was drawn.

    Raises:
        UsageError: labels, videos or names cannot be used; names the file and the place in it.
        StorageError: the storage cannot be read or written.
    """
    if not output.lower().endswith(OUTPUT_SUFFIXES):
        raise UsageError(f"--output {output}: expected a name that ends in {', '.join(OUTPUT_SUFFIXES)}")
    notes: list[str] = []
    files = (file for file in find_labels(labels) if file.suffix not in _SUFFIXES or _suits(file, label_format))
    read = [video for file in files for video in _reader(file, label_format)(file, notes)]
    matched = match(find_videos(videos), read)
    if not matched.pairs:
        named = ", ".join(repr(one.names[0]) for one in matched.labels_without[:3]) or "none with a box"
        raise UsageError(
            f"no video of {storage.redact(videos)} has labels in {storage.redact(labels)}: they name {named}"
        )
    target = storage.parse(output).uri
    rows = list(_rows(matched.pairs, storage.parent(target), keyframes, notes))
    manifest = _check_and_write(rows, target)
    return Built(manifest, tuple(notes), matched.videos_without, tuple(one.where for one in matched.labels_without))


def _suits(file: LabelFile, label_format: Format) -> bool:
    return label_format == "auto" or label_format in _SUFFIXES[file.suffix]


def _reader(file: LabelFile, label_format: Format) -> Callable[[LabelFile, list[str]], list[LabelledVideo]]:
    if label_format != "auto":
        return READERS[label_format]
    if file.suffix == ".xml":
        return read_cvat
    if file.suffix == ".txt":
        return read_mot
    if file.suffix == ".json":
        a_document = file.content.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") and b'"videos"' in file.content
        return read_coco_video if a_document else read_label_studio
    raise LabelError(f"{file.shown}: of no known kind by its name: give --format {', '.join(READERS)}")


def _rows(
    pairs: Iterable[tuple[str, LabelledVideo]], folder: str, keyframes: KeyFrames, notes: list[str]
) -> Iterator[dict[str, Any]]:
    pairs = list(pairs)
    stems = Counter(posixpath.splitext(posixpath.basename(uri))[0] for uri, _ in pairs)
    for uri, labels in pairs:
        convert = _Converter.of(uri, labels, notes)
        objects = [start for one in labels.objects for start in convert.starts(one, keyframes)]
        inside = folder.rstrip("/") + "/"
        row: dict[str, Any] = {"video_uri": uri.removeprefix(inside), "objects": objects}
        stem = posixpath.splitext(posixpath.basename(uri))[0]
        if stems[stem] == 1 and ID_PATTERN.fullmatch(stem):
            row["clip_id"] = stem
        yield row


@dataclass(frozen=True, slots=True)
class _Converter:
    """From the labels' units and frames to the video's."""

    scale_x: float = 1.0
    scale_y: float = 1.0
    frame_ratio: float = 1.0
    last_frame: int | None = None

    @classmethod
    def of(cls, uri: str, labels: LabelledVideo, notes: list[str]) -> _Converter:
        """Looks into the video where the labels are in percent of it."""
        if labels.unit == "pixels":
            return cls()
        try:
            with staged(uri) as path:
                info = probe(str(path), location=storage.redact(uri)).info
        except VideoError as error:
            raise LabelError(
                f"{labels.where}: its boxes are in percent, and the video cannot be read: {error}"
            ) from None
        ratio = 1.0
        if labels.frames is not None and abs(labels.frames - info.frames) > 1:
            ratio = info.frames / labels.frames
            notes.append(
                f"{labels.where}: labelled as {labels.frames} frames, the video has {info.frames}; frames were "
                "converted in proportion (set frameRate in the labelling config to the video's own)"
            )
        return cls(info.width / 100, info.height / 100, ratio, info.frames - 1)

    def starts(self, labelled: LabelledObject, keyframes: KeyFrames) -> Iterator[dict[str, Any]]:
        """The object's entries in the manifest's `objects`."""
        drawn = [box for box in labelled.boxes if box.drawn] or labelled.boxes
        seen = set()
        for box in drawn if keyframes == "all" else drawn[:1]:
            frame = round(box.frame * self.frame_ratio)
            frame = frame if self.last_frame is None else min(frame, self.last_frame)
            if frame in seen:
                continue
            seen.add(frame)
            yield {"object_id": labelled.object_id, "init_frame": frame, **self._place(box)}

    def _place(self, box: LabelledBox) -> dict[str, list[float]]:
        if box.angle % 360:
            return {"polygon": [round(value, 3) for value in box.corners(self.scale_x, self.scale_y)]}
        values = (box.x * self.scale_x, box.y * self.scale_y, box.w * self.scale_x, box.h * self.scale_y)
        return {"box": [round(value, 3) for value in values]}


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
