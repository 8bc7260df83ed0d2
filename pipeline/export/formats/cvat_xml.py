"""CVAT for video 1.1: a file a clip, an object a track, to be looked at and corrected in CVAT.

Format: https://docs.cvat.ai/docs/dataset_management/formats/format-cvat/ and .../xml_format/: tracks of boxes
or polygons by frames of the source video; `keyframe="1"` on every tracked frame, `outside="1"` on the first one after
a gap or the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from pipeline.export.export_clip import ExportClip, has_area
from pipeline.export.formats.outlines import outlines
from pipeline.export.sink import Sink


class CvatXml:
    """`<clip_id>.xml`, one a clip: import it into the task of the clip's video with the same labels.

    An attribute `object_id` of each track is the object's own id; labels are the categories.

    Args:
        sink: where the files go.
        category: label of objects without one.
        polygons: the outline of the mask's largest piece in place of the tracker's box; a row without mask pixels is
            then left out.
    """

    def __init__(self, sink: Sink, category: str, *, polygons: bool = False) -> None:
        self._sink, self._category, self._polygons = sink, category, polygons

    def add(self, clip: ExportClip) -> None:
        """Writes a clip's file."""
        self._sink.put({f"{clip.clip_id}.xml": "".join(self._lines(clip)).encode()})

    def close(self) -> None:
        """Nothing is left to write."""

    def _lines(self, clip: ExportClip) -> Iterator[str]:
        height, width = clip.size
        labels = {object_id: clip.categories.get(object_id) or self._category for object_id in clip.object_ids}
        source = clip.tracks.clip["video_uri"].rstrip("/").rsplit("/", 1)[-1]
        yield '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n  <meta>\n    <task>\n'
        yield f"      <name>{escape(clip.clip_id)}</name>\n      <size>{clip.tracks.clip['end_frame']}</size>\n"
        yield "      <mode>interpolation</mode>\n      <labels>\n"
        for label in dict.fromkeys(labels.values()):
            yield f"        <label><name>{escape(label)}</name><attributes><attribute><name>object_id</name>"
            yield "<mutable>False</mutable><input_type>text</input_type><default_value></default_value>"
            yield "<values></values></attribute></attributes></label>\n"
        yield f"      </labels>\n      <original_size><width>{width}</width><height>{height}</height></original_size>\n"
        yield f"    </task>\n    <source>{escape(source)}</source>\n  </meta>\n"
        for number, object_id in enumerate(clip.object_ids):
            yield f'  <track id="{number}" label={quoteattr(labels[object_id])} source="auto">\n'
            yield from self._shapes(clip, object_id)
            yield "  </track>\n"
        yield "</annotations>\n"

    def _shapes(self, clip: ExportClip, object_id: str) -> Iterator[str]:
        rows = {frame: row for frame, row in sorted(clip.rows_of_object(object_id).items()) if self._shows(row)}
        step, end = clip.stride, clip.tracks.clip["end_frame"]
        for frame, row in rows.items():
            shape = _polygon(row["mask"]) if self._polygons else _box(row["bbox"])
            yield _shape(frame, *shape, object_id, outside=False)
            following = frame + step
            if following not in rows and following < end:
                yield _shape(following, *shape, object_id, outside=True)

    def _shows(self, row: dict[str, Any]) -> bool:
        return row["area"] > 0 if self._polygons else has_area(row["bbox"])


def _box(box: dict[str, float]) -> tuple[str, str]:
    x, y, w, h = (box[name] for name in ("x", "y", "w", "h"))
    return "box", f'xtl="{x:.2f}" ytl="{y:.2f}" xbr="{x + w:.2f}" ybr="{y + h:.2f}"'


def _polygon(rle: dict[str, Any]) -> tuple[str, str]:
    return "polygon", f'points="{";".join(f"{x:.2f},{y:.2f}" for x, y in outlines(rle)[0])}"'


def _shape(frame: int, name: str, place: str, object_id: str, *, outside: bool) -> str:
    return (
        f'    <{name} frame="{frame}" outside="{int(outside)}" occluded="0" keyframe="1" {place} z_order="0">\n'
        f'      <attribute name="object_id">{escape(object_id)}</attribute>\n    </{name}>\n'
    )
