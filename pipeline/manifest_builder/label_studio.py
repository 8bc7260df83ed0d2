"""Label Studio's JSON export of video object tracking (`VideoRectangle`).

Format: https://labelstud.io/tags/videorectangle and https://labelstud.io/guide/export. A list of tasks; a region of
type `videorectangle` has a `sequence` of boxes in percent of the frame, with frames counted from 1 at the frame rate of
the labelling config. Where that is not the video's own, `framesCount` says how to come back to the video's frames.
"""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from pipeline.manifest_builder.files import LabelFile
from pipeline.manifest_builder.labels import (
    LabelError,
    LabelledBox,
    LabelledObject,
    LabelledVideo,
    number,
    sized,
    whole,
)

_UPLOADED = re.compile(r"^[0-9a-f]{8}-(?=.)")


def read_label_studio(file: LabelFile, notes: list[str]) -> list[LabelledVideo]:
    """Read an export; one video a task.

    Args:
        file: the JSON.
        notes: what was passed over is added here.

    Raises:
        LabelError: it is no such JSON, or a value in it cannot be used; names the place in the document.
    """
    tasks = parse_json(file)
    tasks = [tasks] if isinstance(tasks, dict) else tasks
    if not isinstance(tasks, list):
        raise LabelError(f"{file.shown}: expected a list of tasks, got {type(tasks).__name__}")
    return [_task(task, f"{file.shown}: [{position}]", notes) for position, task in enumerate(tasks)]


def parse_json(file: LabelFile) -> Any:
    """The document of a JSON file. Raises LabelError, which names the line."""
    try:
        return json.loads(file.content)
    except json.JSONDecodeError as error:
        raise LabelError(f"{file.shown}:{error.lineno}: expected JSON: {error.msg}") from None
    except UnicodeDecodeError as error:
        raise LabelError(f"{file.shown}: expected JSON in UTF-8: {error.reason}") from None


def _task(task: Any, where: str, notes: list[str]) -> LabelledVideo:
    if not isinstance(task, dict) or not isinstance(task.get("data"), dict):
        raise LabelError(f"{where}: expected a task with data and annotations; export as JSON, not as JSON-MIN or CSV")
    names = _names(task, where)
    annotations = task.get("annotations")
    if not isinstance(annotations, list):
        raise LabelError(f"{where}: expected a list of annotations; export as JSON, not as JSON-MIN or CSV")
    usable = [(i, one) for i, one in enumerate(annotations) if isinstance(one, dict) and not one.get("was_cancelled")]
    usable.sort(key=lambda item: not item[1].get("ground_truth"))
    if len(usable) > 1:
        notes.append(f"{where} ({names[0]}): {len(usable)} annotations; took annotations[{usable[0][0]}]")
    objects, frames, others = [], None, 0
    for position, chosen in usable[:1]:
        for at, region in enumerate(chosen.get("result") or []):
            place = f"{where}.annotations[{position}].result[{at}]"
            if not isinstance(region, dict) or region.get("type") != "videorectangle":
                others += 1
                continue
            made, counted = _region(region, place)
            objects.append(made)
            frames = frames or counted
    if others:
        notes.append(f"{where} ({names[0]}): {others} regions that are no video rectangles passed over")
    return LabelledVideo(names, f"{where} ({names[0]})", tuple(objects), "percent", frames)


def _region(region: dict[str, Any], where: str) -> tuple[LabelledObject, int | None]:
    value = region.get("value")
    sequence = value.get("sequence") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(sequence, list) or not sequence:
        raise LabelError(f"{where}.value.sequence: expected a list of boxes, got {sequence!r}")
    label = (value.get("labels") or ["object"])[0]
    made = LabelledObject(f"{label}-{region.get('id') or where.rsplit('.', 1)[-1]}")
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
    made.boxes.sort(key=lambda box: box.frame)
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
    for url in [*given, task.get("file_upload")]:
        if not isinstance(url, str) or not url:
            continue
        split = urlsplit(url)
        path = parse_qs(split.query).get("d", [unquote(split.path)])[0] if split.query else unquote(split.path)
        base = path.rsplit("/", 1)[-1]
        names += [path, base, _UPLOADED.sub("", base)]
    return tuple(dict.fromkeys(name for name in names if name))
