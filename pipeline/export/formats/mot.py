"""MOT text: boxes, a line an object and frame: `frame, id, left, top, width, height, active, class, visibility`."""

from __future__ import annotations

from pipeline.export.export_clip import ExportClip, has_area
from pipeline.export.sink import JsonArrays, Sink


class Mot:
    """`<clip_id>/gt/gt.txt`, `<clip_id>/seqinfo.ini`, and `clips.json` with the objects' own ids.

    Frames count from 1 within the clip, pixels from 1, as in the MOT challenge; the box is the tracker's.

    Args:
        sink: where the files go.
        class_id: of all objects; 1 is a pedestrian.
    """

    def __init__(self, sink: Sink, class_id: int = 1) -> None:
        self._sink, self._class_id = sink, class_id
        self._clips = JsonArrays(sink, "clips.json", {}, ["clips"])

    def add(self, clip: ExportClip) -> None:
        """Writes a clip's text."""
        numbers = {object_id: number for number, object_id in enumerate(clip.object_ids, 1)}
        lines = []
        for time, frame in enumerate(clip.frames, 1):
            for row in clip.rows_of(frame):
                if not has_area(row["bbox"]):
                    continue
                x, y, w, h = (row["bbox"][name] for name in ("x", "y", "w", "h"))
                box = f"{x + 1:.2f},{y + 1:.2f},{w:.2f},{h:.2f}"
                lines.append(f"{time},{numbers[row['object_id']]},{box},1,{self._class_id},1\n")
        height, width = clip.size
        info = (
            f"[Sequence]\nname={clip.clip_id}\nimDir=img1\nframeRate={clip.whole_fps}\n"
            f"seqLength={len(clip.frames)}\nimWidth={width}\nimHeight={height}\nimExt=.jpg\n"
        )
        files = {f"{clip.clip_id}/gt/gt.txt": "".join(lines), f"{clip.clip_id}/seqinfo.ini": info}
        self._sink.put({name: text.encode() for name, text in files.items()})
        self._clips.add("clips", clip.describe())

    def close(self) -> None:
        """Writes `clips.json`."""
        self._clips.close()
