"""DAVIS: a folder of indexed PNG files a clip, a pixel's value its object."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from pipeline.export.errors import ExportError
from pipeline.export.export_clip import ExportClip
from pipeline.export.formats.fuse import label_map
from pipeline.export.sink import JsonArrays, Sink

MOST_OBJECTS = 254
"""0 is the background, and 255 is void to those who judge by DAVIS."""

_FRAMES_AT_ONCE = 64


class Davis:
    """`Annotations/<clip_id>/<frame>.png`, and `clips.json` with the ids that the values stand for.

    A frame's name is its index in the source video. Every frame of the clip has a file, without objects a black one.
    Where masks overlap, a pixel goes to the likelier object (see `fuse`).

    Args:
        sink: where the files go.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._clips = JsonArrays(sink, "clips.json", {}, ["clips"])

    def add(self, clip: ExportClip) -> None:
        """Writes a clip's pictures.

        Raises:
            ExportError: the clip has more objects than a PNG has values.
        """
        if len(clip.object_ids) > MOST_OBJECTS:
            raise ExportError(
                f"clip {clip.clip_id}: it has {len(clip.object_ids)} objects, a DAVIS picture holds {MOST_OBJECTS}"
            )
        numbers = {object_id: number for number, object_id in enumerate(clip.object_ids, 1)}
        for start in range(0, len(clip.frames), _FRAMES_AT_ONCE):
            pictures = {
                f"Annotations/{clip.clip_id}/{frame:05d}.png": _png(
                    label_map(clip.rows_of(frame), numbers, clip.size)
                )
                for frame in clip.frames[start : start + _FRAMES_AT_ONCE]
            }
            self._sink.put(pictures)
        self._clips.add("clips", clip.describe())

    def close(self) -> None:
        """Writes `clips.json`."""
        self._clips.close()


def palette() -> list[int]:
    """The colours of PASCAL VOC and DAVIS, 256 times R, G, B: three bits of the value at a time, highest bit first."""
    value = np.arange(256)
    colours = np.zeros((256, 3), np.int64)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= ((value >> (3 * bit + channel)) & 1) << (7 - bit)
    return colours.ravel().tolist()


def _png(labels: np.ndarray) -> bytes:
    picture = Image.fromarray(labels.astype(np.uint8), "P")
    picture.putpalette(_PALETTE)
    data = io.BytesIO()
    picture.save(data, "PNG")
    return data.getvalue()


_PALETTE = palette()
