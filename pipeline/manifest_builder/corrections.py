"""Corrected labels of a run become key frames of its manifest, for the clips and objects that they touch alone.

A run is exported for CVAT or Label Studio (`jobs/export.py`), looked at and corrected there, and exported again. A
box that is not where the run has it is a key frame; an object that is switched off where the run has rows ends there.
The new manifest with `jobs/segment.py --replace-changed` runs what changed.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipeline import storage
from pipeline.clip import Clip, ObjectStart
from pipeline.errors import UsageError
from pipeline.manifest import Manifest, read_manifest
from pipeline.manifest_builder.build import read_labels
from pipeline.manifest_builder.labelled_video import LabelledObject, LabelledVideo
from pipeline.manifest_builder.starts import Converter
from pipeline.reading import NotInRun, open_run

TOLERANCE_PX = 0.51
"""Boxes that differ by no more are the same: labels are written with two digits, and a person does not aim better."""

SMALLEST_PX = 0.01
"""Exports leave out boxes that are less wide or high."""

OUTPUT_SUFFIXES = (".jsonl", ".ndjson", ".json")
_Boxes = dict[str, dict[int, tuple[float, ...]]]


@dataclass(slots=True)
class Corrected:
    """What came of corrections.

    Attributes:
        clips: ids of the clips that changed.
        boxes, ends: key frames and ends that were taken over.
        notes: what was passed over, one sentence each.
    """

    clips: list[str] = field(default_factory=list)
    boxes: int = 0
    ends: int = 0
    notes: list[str] = field(default_factory=list)


def correct_manifest(manifest: str, corrections: str, run: str, output: str) -> Corrected:
    """Write a manifest with the corrections of some of its clips; all other clips stay as they are.

    Args:
        manifest: URI of the run's manifest.
        corrections: URI of labels in a format that is read; a file's or task's name is the clip's id.
        run: URI of the run's output.
        output: URI of the new manifest, JSON Lines, beside the old one where its videos are named relative to it.

    Raises:
        UsageError: something cannot be used, or nothing was corrected; names it.
        StorageError: the storage cannot be read or written.
    """
    if not output.lower().endswith(OUTPUT_SUFFIXES):
        raise UsageError(f"--output {output}: expected a name that ends in {', '.join(OUTPUT_SUFFIXES)}")
    done = Corrected()
    labels = {name: video for video in read_labels(corrections, "auto", done.notes) for name in reversed(video.names)}
    known = read_manifest(manifest, in_process=True)
    columns = [name for name in known.summary.unknown_columns if name.isidentifier()]
    known = read_manifest(manifest, keep_columns=columns, in_process=True)
    try:
        opened = open_run(run)
    except NotInRun as error:
        raise UsageError(f"--run: {error}") from error
    clips = []
    for clip in known.clips():
        video = labels.pop(clip.clip_id, None)
        if video is not None:
            if video.unit == "percent":
                video = Converter.of(clip.video_location, video, done.notes).in_pixels(video)
            columns = ["object_id", "frame_index", "bbox", "state"]
            boxes: _Boxes = {}
            lost: set[tuple[str, int]] = set()
            for row in opened.masks(clip_id=clip.clip_id, columns=columns).arrow().to_pylist():
                box = row["bbox"]
                boxes.setdefault(row["object_id"], {})[row["frame_index"]] = (box["x"], box["y"], box["w"], box["h"])
                if row["state"] == "lost" or min(box["w"], box["h"]) < SMALLEST_PX:  # exported as not to be seen
                    lost.add((row["object_id"], row["frame_index"]))
            changed = _corrected(clip, video, boxes, lost, done)
            if changed != clip:
                done.clips.append(clip.clip_id)
                clip = changed
        clips.append(clip)
    if not done.clips:
        raise UsageError(f"{storage.redact(corrections)}: no box of it differs from those of the run's clips")
    _write(clips, known, storage.parse(output).uri)
    return done


def _corrected(clip: Clip, video: LabelledVideo, boxes: _Boxes, lost: set[tuple[str, int]], done: Corrected) -> Clip:
    starts = {(start.object_id, start.init_frame): start for start in clip.objects}
    categories = clip.categories
    directions = {start.object_id: start.direction for start in clip.objects}
    first = min((frame for rows in boxes.values() for frame in rows), default=clip.start_frame or 0)
    for labelled in video.objects:
        object_id = labelled.given_id or labelled.object_id
        for frame, box in _differing(labelled, boxes.get(object_id)):
            given_first = frame == first and (object_id, None) in starts
            key = (object_id, None if given_first else frame)
            category = categories.get(object_id) or labelled.category
            direction = directions.get(object_id, "forward")
            starts[key] = ObjectStart(object_id, key[1], box=box, category=category, direction=direction)
            done.boxes += 1
        for end in labelled.ends:
            tracked = end in boxes.get(object_id, {}) and (object_id, end) not in lost
            if tracked and _end_at(starts, object_id, end, first):
                done.ends += 1
    absent = set(categories) - {labelled.given_id or labelled.object_id for labelled in video.objects}
    if absent:
        done.notes.append(f"{video.where}: has no track of {', '.join(sorted(absent))}, which stay as they are")
    order = list(dict.fromkeys([*categories, *(object_id for object_id, _ in starts)]))
    objects = sorted(starts.values(), key=lambda start: (order.index(start.object_id), start.init_frame or 0))
    return replace(clip, objects=tuple(objects))


def _differing(
    labelled: LabelledObject, rows: dict[int, tuple[float, ...]] | None
) -> Iterator[tuple[int, tuple[float, float, float, float]]]:
    """The drawn boxes that the run does not have so; of an object that it does not have, the first."""
    drawn = [box for box in labelled.boxes if box.drawn]
    if rows is None:
        drawn = drawn[:1]
    for box in drawn:
        values = (box.x, box.y, box.w, box.h)
        tracked = rows.get(box.frame) if rows else None
        if tracked is None or max(abs(a - b) for a, b in zip(values, tracked, strict=True)) > TOLERANCE_PX:
            yield box.frame, values


def _end_at(starts: dict[tuple[str, int | None], ObjectStart], object_id: str, end: int, first: int) -> bool:
    """End the start of the object that is in effect before the frame; whether there is one."""
    before = [key for key in starts if key[0] == object_id and (first if key[1] is None else key[1]) < end]
    if not before:
        return False
    last = max(before, key=lambda key: first if key[1] is None else key[1])
    starts[last] = replace(starts[last], end_frame=end)
    return True


def _write(clips: list[Clip], old: Manifest, target: str) -> None:
    """Write the clips where the service's reader finds the same videos by them."""
    lines = []
    for clip in clips:
        value = json.loads(clip.to_json())
        del value["video_location"]
        kept = value.pop("keep", {})
        lines.append(json.dumps({**value, **kept}) + "\n")
    with tempfile.TemporaryDirectory(prefix="siammask-manifest-") as folder:
        path = Path(folder) / storage.name(target)
        path.write_text("".join(lines))
        read_manifest(str(path), in_process=True)
        if any(storage.resolve(storage.parent(target), clip.video_uri) != clip.video_location for clip in clips):
            raise UsageError(
                f"--output {storage.redact(target)}: its videos are named relative to the manifest: write it into "
                f"the folder of {storage.redact(old.uri)}"
            )
        storage.upload_file(path, target)
