"""Label Studio's JSON exports of video object tracking (`VideoRectangle`): JSON, JSON-MIN, and predictions.

Format: https://labelstud.io/tags/videorectangle and https://labelstud.io/guide/export. A list of tasks; a region of
type `videorectangle` has a `sequence` of boxes in percent of the frame, with frames counted from 1 at the frame rate
of the labelling config. Where that is not the video's own, `framesCount` says how to come back to the video's frames.
A box with `enabled: false` is the last on which the object is to be seen, until the next box (`isInLifespan` of its
editor).
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from pipeline.manifest_builder.label_files import LabelFile
from pipeline.manifest_builder.labelled_video import (
    LabelError,
    LabelledBox,
    LabelledObject,
    LabelledVideo,
    number,
    sized,
    whole,
)

_UPLOADED = re.compile(r"^[0-9a-f]{8}-(?=.)")


def is_label_studio(file: LabelFile) -> bool:
    """Whether it is a task or a list of tasks, in full or as JSON-MIN."""
    document = file.document
    tasks = document if isinstance(document, list) else [document]
    return bool(tasks) and all(isinstance(task, dict) and (_is_full(task) or _is_minimal(task)) for task in tasks)


def read_label_studio(file: LabelFile, notes: list[str]) -> list[LabelledVideo]:
    """Read an export; one video a task.

    Args:
        file: the JSON.
        notes: what was passed over is added here.

    Raises:
        LabelError: it is no such JSON, or a value in it cannot be used; names the place in the document.
    """
    tasks = file.document
    tasks = [tasks] if isinstance(tasks, dict) else tasks
    if not isinstance(tasks, list):
        raise LabelError(f"{file.shown}: expected a list of tasks, got {type(tasks).__name__}")
    return [_task(task, f"{file.shown}: [{position}]", notes) for position, task in enumerate(tasks)]


def _is_full(task: dict[str, Any]) -> bool:
    return "data" in task and bool({"annotations", "completions", "predictions"} & task.keys())


def _is_minimal(task: dict[str, Any]) -> bool:
    return any(_sequences(value) for value in task.values()) and any(isinstance(v, str) for v in task.values())


def _sequences(value: Any) -> list[dict[str, Any]]:
    """The regions of a field of JSON-MIN, where it has any."""
    regions = value if isinstance(value, list) else []
    return [region for region in regions if isinstance(region, dict) and isinstance(region.get("sequence"), list)]


def _task(task: Any, where: str, notes: list[str]) -> LabelledVideo:
    if isinstance(task, dict) and "data" not in task and _is_minimal(task):
        regions = [region for value in task.values() for region in _sequences(value)]
        names = _names({"data": {key: value for key, value in task.items() if isinstance(value, str)}}, where)
        # JSON-MIN leaves the regions' ids out.
        results = [(f"{where}.{i}", {"id": str(i), "value": region}) for i, region in enumerate(regions)]
        return _video(names, where, results, 0, notes)
    if not isinstance(task, dict) or not isinstance(task.get("data"), dict):
        raise LabelError(f"{where}: expected a task with data and annotations; export as JSON")
    names = _names(task, where)
    kind, usable = _usable(task, where)
    if len(usable) > 1:
        notes.append(f"{where} ({names[0]}): {len(usable)} {kind}; took {kind}[{usable[0][0]}]")
    results, others = [], 0
    for position, chosen in usable[:1]:
        for index, region in enumerate(chosen.get("result") or []):
            if isinstance(region, dict) and region.get("type") == "videorectangle":
                results.append((f"{where}.{kind}[{position}].result[{index}]", region))
            else:
                others += 1
    return _video(names, where, results, others, notes, ours="clip_id" in task["data"])


def _usable(task: dict[str, Any], where: str) -> tuple[str, list[tuple[int, dict[str, Any]]]]:
    """The annotations, the ground truth first; where there are none, the predictions."""
    annotations = task.get("annotations", task.get("completions"))
    if annotations is not None and not isinstance(annotations, list):
        raise LabelError(f"{where}.annotations: expected a list, got {annotations!r}")
    usable = [
        (i, annotation)
        for i, annotation in enumerate(annotations or [])
        if isinstance(annotation, dict) and not annotation.get("was_cancelled")
    ]
    usable.sort(key=lambda item: not item[1].get("ground_truth"))
    predictions = task.get("predictions")
    if usable or not isinstance(predictions, list):
        if annotations is None:
            raise LabelError(f"{where}: expected a list of annotations; export as JSON")
        return "annotations", usable
    return "predictions", [(i, value) for i, value in enumerate(predictions) if isinstance(value, dict)]


def _video(
    names: tuple[str, ...],
    where: str,
    results: list[tuple[str, dict[str, Any]]],
    others: int,
    notes: list[str],
    *,
    ours: bool = False,
) -> LabelledVideo:
    """`ours`: the regions are of an export of this service, which has the objects' ids in `meta.text`."""
    objects, frames = [], None
    for place, region in results:
        made, counted = _region(region, place)
        made.given_id = _text_of(region) if ours else None
        if made.boxes:
            objects.append(made)
        else:
            notes.append(f"{place} ({names[0]}): the region of object {made.object_id} is empty and passed over")
        frames = frames or counted
    if others:
        notes.append(f"{where} ({names[0]}): {others} regions that are no video rectangles passed over")
    return LabelledVideo(names, f"{where} ({names[0]})", tuple(objects), "percent", frames)


def _text_of(region: dict[str, Any]) -> str | None:
    meta = region.get("meta")
    text = meta.get("text") if isinstance(meta, dict) else None
    return text[0] if isinstance(text, list) and text and isinstance(text[0], str) else None


def _region(region: dict[str, Any], where: str) -> tuple[LabelledObject, int | None]:
    value = region.get("value")
    sequence = (value.get("sequence") or []) if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(sequence, list):
        raise LabelError(f"{where}.value.sequence: expected a list of boxes, got {sequence!r}")
    label = next(iter(value.get("labels") or []), None)
    made = LabelledObject(f"{label or 'object'}-{region.get('id') or where.rsplit('.', 1)[-1]}", category=label)
    for position, item in enumerate(sequence):
        place = f"{where}.value.sequence[{position}]"
        if not isinstance(item, dict):
            raise LabelError(f"{place}: expected a box, got {item!r}")
        x, y, w, h = (number(item.get(name), place, name) for name in ("x", "y", "width", "height"))
        frame = whole(item.get("frame"), place, "frame", least=1) - 1
        angle = number(item.get("rotation") or 0, place, "rotation")
        # Konva, which draws the rectangles, turns them about their top-left corner.
        box = LabelledBox(frame, x, y, w, h, angle, "corner", drawn=not item.get("auto"))
        made.boxes.append(sized(box, place))
        if item.get("enabled") is False:
            made.ends.append(frame + 1)
    made.boxes.sort(key=lambda box: box.frame)
    made.ends.sort()
    doubled = [a.frame for a, b in zip(made.boxes, made.boxes[1:], strict=False) if a.frame == b.frame]
    if doubled:
        raise LabelError(f"{where}.value.sequence: expected one box a frame, got two on frame {doubled[0] + 1}")
    count = value.get("framesCount")
    return made, None if not count else whole(count, where, "value.framesCount", least=1)


def _names(task: dict[str, Any], where: str) -> tuple[str, ...]:
    data = task["data"]
    given = [data["video"]] if isinstance(data.get("video"), str) else [v for v in data.values() if isinstance(v, str)]
    if not given:
        raise LabelError(f"{where}.data: expected the URL of a video, got {data!r}")
    names = []
    for url in [*given, task.get("file_upload"), data.get("clip_id")]:
        if not isinstance(url, str) or not url:
            continue
        split = urlsplit(url)
        path = parse_qs(split.query).get("d", [unquote(split.path)])[0] if split.query else unquote(split.path)
        base = path.rsplit("/", 1)[-1]
        names += [path, base, _UPLOADED.sub("", base)]
    return tuple(dict.fromkeys(name for name in names if name))
