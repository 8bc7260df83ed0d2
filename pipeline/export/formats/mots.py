"""MOTS text: a line an object and frame, `frame id class height width rle`, separated by blanks."""

from __future__ import annotations

from pipeline.export.errors import ExportError
from pipeline.export.export_clip import ExportClip
from pipeline.export.formats.fuse import apart
from pipeline.export.sink import JsonArrays, Sink

MOST_OBJECTS = 999
"""An id is 1000 times the class plus the object's number."""


class Mots:
    """`data/<clip_id>.txt`, `<clip_id>/seqinfo.ini`, `seqmap.txt`, and `clips.json` with the objects' own ids.

    Frames count from 1 within the clip, as in the MOTS challenge. Masks of a frame may not overlap there: a pixel goes
    to the likelier object (see `fuse`), and an object without a pixel has no line.

    Args:
        sink: where the files go.
        class_id: 1 for cars, 2 for pedestrians, the two that the benchmark knows.
    """

    def __init__(self, sink: Sink, class_id: int) -> None:
        self._sink, self._class_id = sink, class_id
        self._clips = JsonArrays(sink, "clips.json", {}, ["clips"])
        self._names = ["name"]

    def add(self, clip: ExportClip) -> None:
        """Writes a clip's text.

        Raises:
            ExportError: the clip has more objects than a class has ids.
        """
        if len(clip.object_ids) > MOST_OBJECTS:
            raise ExportError(f"clip {clip.clip_id}: it has {len(clip.object_ids)} objects, a MOTS class holds 999")
        numbers = {object_id: number for number, object_id in enumerate(clip.object_ids, 1)}
        height, width = clip.size
        lines = []
        for time, frame in enumerate(clip.frames, 1):
            for number, mask in apart(clip.rows_of(frame), numbers, clip.size).items():
                object_id = 1000 * self._class_id + number
                lines.append(f"{time} {object_id} {self._class_id} {height} {width} {mask['counts']}\n")
        info = {
            "name": clip.clip_id,
            "imDir": "img1",
            "frameRate": clip.whole_fps,
            "seqLength": len(clip.frames),
            "imWidth": width,
            "imHeight": height,
            "imExt": ".jpg",
        }
        described = "[Sequence]\n" + "".join(f"{name}={value}\n" for name, value in info.items())
        files = {f"data/{clip.clip_id}.txt": "".join(lines), f"{clip.clip_id}/seqinfo.ini": described}
        self._sink.put({name: text.encode() for name, text in files.items()})
        self._clips.add("clips", clip.describe())
        self._names.append(clip.clip_id)

    def close(self) -> None:
        """Writes the lists of clips."""
        self._sink.put({"seqmap.txt": ("\n".join(self._names) + "\n").encode()})
        self._clips.close()
