"""VOT: a region a frame, as trajectories of a tracker and as sequences with ground truth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import numpy as np
from pycocotools import mask as coco

from pipeline.export.export_clip import ExportClip
from pipeline.export.options import Region
from pipeline.export.sink import JsonArrays, Sink

_UNKNOWN, _INITIALISED = "0", "1"


class Vot:
    """`results/<clip>/<clip>_<object>_001.txt` with its `_confidence.value`, and `sequences/<clip>/groundtruth….txt`.

    A line is a frame of the clip. In a trajectory the frame on which the object's track starts is the code 1, and a
    frame without a row is the code 0; in the ground truth the first is a region too. Of a clip with one object the
    names have no object in them. Objects' ids are percent-encoded in names.

    Args:
        sink: where the files go.
        region: `polygon`, the four corners of the rotated box; `rectangle`, the tracker's upright box; `mask`.
    """

    def __init__(self, sink: Sink, region: Region) -> None:
        self._sink, self._region = sink, region
        self._clips = JsonArrays(sink, "clips.json", {}, ["clips"])
        self._names: list[str] = []

    def add(self, clip: ExportClip) -> None:
        """Writes a clip's trajectories and its sequence."""
        name, files = clip.clip_id, {}
        for object_id in clip.object_ids:
            ending = "_" + quote(object_id, safe="") if len(clip.object_ids) > 1 else ""
            rows = clip.rows_of_object(object_id)
            regions = [_text(rows[frame], self._region) if frame in rows else _UNKNOWN for frame in clip.frames]
            scores = [f"{rows[frame]['score']:.6g}" if frame in rows else "" for frame in clip.frames]
            first = clip.frames.index(min(rows))
            trajectory = [*regions[:first], _INITIALISED, *regions[first + 1 :]]
            files[f"results/{name}/{name}{ending}_001.txt"] = trajectory
            files[f"results/{name}/{name}{ending}_001_confidence.value"] = scores
            files[f"sequences/{name}/groundtruth{ending}.txt"] = regions
        height, width = clip.size
        files[f"sequences/{name}/sequence"] = [
            "channels.color=color/%08d.jpg",
            f"fps={clip.whole_fps}",
            f"height={height}",
            f"length={len(clip.frames)}",
            f"name={name}",
            f"width={width}",
        ]
        self._sink.put({path: ("\n".join(lines) + "\n").encode() for path, lines in files.items()})
        self._clips.add("clips", clip.describe())
        self._names.append(name)

    def close(self) -> None:
        """Writes the lists of clips."""
        self._sink.put({"sequences/list.txt": "".join(f"{name}\n" for name in self._names).encode()})
        self._clips.close()


def _text(row: Mapping[str, Any], region: Region) -> str:
    if region == "polygon":
        return ",".join(f"{value:.4f}" for value in row["corners"])
    if region == "rectangle":
        return ",".join(f"{row['bbox'][side]:.4f}" for side in "xywh")
    return _mask_text(coco.decode(row["mask"]))


def _mask_text(mask: np.ndarray) -> str:
    """`m` x, y, width and height of the pixels' box, then run lengths row by row, zeros first."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return "m0,0,0,0,0"
    window = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    flat = window.ravel()
    edges = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1, [flat.size]])
    runs = np.diff(edges).tolist()
    runs = [0, *runs] if flat[0] else runs
    box = [columns[0], rows[0], window.shape[1], window.shape[0]]
    return "m" + ",".join(str(int(value)) for value in [*box, *runs])
