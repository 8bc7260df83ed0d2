"""Label Studio predictions: a task a clip, an object a `videorectangle` region, to be looked at and corrected there.

Format: https://labelstud.io/tags/videorectangle, https://labelstud.io/guide/predictions: boxes in percent of the frame,
frames from 1; an object is to be seen between two boxes unless the first of them has `enabled: false`, which is then
the last on which it is. `framesCount` and `duration` are the video's.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from pipeline import storage
from pipeline.export.export_clip import ExportClip, has_area
from pipeline.export.formats.categories import Categories
from pipeline.export.sink import JsonArrays, Sink
from pipeline.reading.draw import count_frames

MODEL_VERSION = "siammask-batch"
_WHOLE = 100.0
"""Percent. Label Studio takes no box of which a value is greater."""


class LabelStudio:
    """`tasks.json`, which a project imports, and `config.xml`, its labelling interface with the labels of the objects.

    A local video is named as local files storage serves it (`/data/local-files/?d=…`, seen from the root folder),
    another one by its URI. A region's `meta.text` is the object's own id, and the task's `data.clip_id` the clip's.

    Args:
        sink: where the files go.
        category: label of objects without one.
    """

    def __init__(self, sink: Sink, category: str) -> None:
        self._sink = sink
        self._labels = Categories(category)
        self._tasks = JsonArrays(sink, "tasks.json", {}, [""])

    def add(self, clip: ExportClip) -> None:
        """Appends a clip's task.

        Raises:
            RenderError: the video, of which the number of frames is needed, is not found or cannot be read.
        """
        frames = count_frames(clip.tracks, clip.video)
        data = {"video": _url(clip.video or ""), "fps": clip.fps, "clip_id": clip.clip_id}
        regions = [self._region(clip, number, frames) for number in range(len(clip.object_ids))]
        prediction = {"model_version": MODEL_VERSION, "result": [region for region in regions if region]}
        self._tasks.add("", {"data": data, "predictions": [prediction]})

    def close(self) -> None:
        """Writes both files."""
        self._tasks.close()
        labels = "".join(f"    <Label value={quoteattr(item['name'])}/>\n" for item in self._labels.listed)
        config = (
            '<View>\n  <Labels name="videoLabels" toName="video" allowEmpty="true">\n'
            f'{labels}  </Labels>\n  <Video name="video" value="$video" framerate="$fps"/>\n'
            '  <VideoRectangle name="box" toName="video"/>\n</View>\n'
        )
        self._sink.put({"config.xml": config.encode()})

    def _region(self, clip: ExportClip, number: int, frames: int) -> dict[str, Any] | None:
        object_id = clip.object_ids[number]
        rows = {frame: row for frame, row in sorted(clip.rows_of_object(object_id).items()) if has_area(row["bbox"])}
        if not rows:
            return None
        label = self._labels.listed[self._labels.number(clip.categories.get(object_id)) - 1]["name"]
        value = {
            "framesCount": frames,
            "duration": frames / clip.fps,
            "labels": [label],
            "sequence": [
                _keyframe(clip, frame, row, goes_on=frame + clip.stride in rows or frame + clip.stride >= frames)
                for frame, row in rows.items()
            ],
        }
        return {
            "id": str(number + 1),
            "from_name": "box",
            "to_name": "video",
            "type": "videorectangle",
            "origin": "prediction",
            "meta": {"text": [object_id]},
            "score": sum(row["score"] for row in rows.values()) / len(rows),
            "value": value,
        }


def _keyframe(clip: ExportClip, frame: int, row: dict[str, Any], *, goes_on: bool) -> dict[str, Any]:
    """A box; `enabled` says whether the object is to be seen after it, too."""
    height, width = clip.size
    scales = {"x": ("x", width), "y": ("y", height), "width": ("w", width), "height": ("h", height)}
    box = {name: min(row["bbox"][side] / size * 100, _WHOLE) for name, (side, size) in scales.items()}
    return {"frame": frame + 1, "time": (frame + 1) / clip.fps, "enabled": goes_on, "rotation": 0, **box}


def _url(video: str) -> str:
    if not storage.parse(video).is_local:
        return video
    return f"/data/local-files/?d={quote(storage.parse(video).path.lstrip('/'))}"
