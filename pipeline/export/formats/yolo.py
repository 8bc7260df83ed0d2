"""YOLO labels: a text a frame with objects, `class x y w h` or `class x1 y1 x2 y2 …`, as fractions of the frame.

Format: https://docs.ultralytics.com/datasets/detect/ and .../segment/: labels/ beside images/, files of the same
names, and data.yaml with the names of the classes. It has no `path`: its splits are then seen from its own folder.
"""

from __future__ import annotations

import json
from typing import Any, Literal

from pycocotools import mask as coco

from pipeline.export.export_clip import ExportClip
from pipeline.export.formats.categories import Categories
from pipeline.export.formats.outlines import outlines
from pipeline.export.options import ExportOptions, Split
from pipeline.export.sink import Sink

Shape = Literal["box", "segment"]
_FRAMES_AT_ONCE = 64


class Yolo:
    """`labels/<split>/<clip_id>_<frame>.txt` of frames with objects, and `data.yaml`; the frame is its source index.

    A row without mask pixels has no line. A segment is the outline of the mask's largest piece, or the box of a mask
    that is too thin to have one.

    Args:
        sink: where the files go.
        options: the category of objects without one, and whether there is a split val.
        shape: boxes of the masks, or their outlines.
    """

    def __init__(self, sink: Sink, options: ExportOptions, shape: Shape) -> None:
        self._sink, self._shape = sink, shape
        self._categories = Categories(options.category)
        self._val: Split = "val" if options.val else "train"

    def add(self, clip: ExportClip) -> None:
        """Writes a clip's texts."""
        texts: dict[str, bytes] = {}
        for frame in clip.frames:
            lines = [self._line(row, clip.size) for row in clip.rows_of(frame) if row["area"]]
            if lines:
                texts[f"labels/{clip.split}/{clip.clip_id}_{frame:06d}.txt"] = "".join(lines).encode()
            if len(texts) == _FRAMES_AT_ONCE:
                self._sink.put(texts)
                texts = {}
        self._sink.put(texts)

    def close(self) -> None:
        """Writes `data.yaml`."""
        names = "".join(f"  {item['id'] - 1}: {json.dumps(item['name'])}\n" for item in self._categories.listed)
        self._sink.put({"data.yaml": f"train: images/train\nval: images/{self._val}\nnames:\n{names}".encode()})

    def _line(self, row: dict[str, Any], size: tuple[int, int]) -> str:
        height, width = size
        if self._shape == "box":
            x, y, w, h = coco.toBbox(row["mask"]).tolist()
            values = [(x + w / 2) / width, (y + h / 2) / height, w / width, h / height]
        else:
            values = (outlines(row["mask"])[0] / (width, height)).ravel().tolist()
        number = self._categories.number(row["category"]) - 1
        return f"{number} {' '.join(f'{min(max(value, 0.0), 1.0):.6f}' for value in values)}\n"
