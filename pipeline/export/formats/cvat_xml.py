"""CVAT for video 1.1: a file a clip, an object a track, to be looked at and corrected in CVAT.

Format: https://docs.cvat.ai/docs/dataset_management/formats/format-cvat/ and .../xml_format/: tracks of boxes by
frames of the source video; `keyframe="1"` on every tracked frame, `outside="1"` on the first one after a gap or the
end.
"""

from __future__ import annotations

from collections.abc import Iterator
from xml.sax.saxutils import escape, quoteattr

from pipeline.export.export_clip import ExportClip, has_area
from pipeline.export.sink import Sink


class CvatXml:
    """`<clip_id>.xml`, one a clip: import it into the task of the clip's video with the same labels.

    An attribute `object_id` of each track is the object's own id; labels are the categories.

    Args:
        sink: where the files go.
        category: label of objects without one.
    """

    def __init__(self, sink: Sink, category: str) -> None:
        self._sink, self._category = sink, category

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
            yield from self._boxes(clip, object_id)
            yield "  </track>\n"
        yield "</annotations>\n"

    def _boxes(self, clip: ExportClip, object_id: str) -> Iterator[str]:
        rows = {frame: row for frame, row in clip.rows_of_object(object_id).items() if has_area(row["bbox"])}
        step, end = clip.stride, clip.tracks.clip["end_frame"]
        for frame, row in sorted(rows.items()):
            box = row["bbox"]
            yield _box(frame, box, object_id, outside=False)
            following = frame + step
            if following not in rows and following < end:
                yield _box(following, box, object_id, outside=True)


def _box(frame: int, box: dict[str, float], object_id: str, *, outside: bool) -> str:
    x, y, w, h = (box[name] for name in ("x", "y", "w", "h"))
    return (
        f'    <box frame="{frame}" outside="{int(outside)}" occluded="0" keyframe="1" xtl="{x:.2f}" ytl="{y:.2f}" '
        f'xbr="{x + w:.2f}" ybr="{y + h:.2f}" z_order="0">\n'
        f'      <attribute name="object_id">{escape(object_id)}</attribute>\n    </box>\n'
    )
