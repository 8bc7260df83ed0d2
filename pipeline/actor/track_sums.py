"""What `clips.tracks` says of each object of a clip, summed up while its rows pass."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pipeline.output.schema import MaskRow


@dataclass(slots=True)
class _Sums:
    category: str | None
    first_frame: int
    last_frame: int = 0
    frames: int = 0
    lost_frames: int = 0
    presence: float = 0.0
    area: int = 0
    path_px: float = 0.0
    centre: tuple[float, float] | None = None

    def add(self, row: MaskRow) -> None:
        x, y, w, h = (float(value) for value in row.bbox)
        centre = (x + w / 2, y + h / 2)
        if self.centre is not None:
            self.path_px += math.dist(self.centre, centre)
        self.centre = centre
        self.last_frame = row.frame_index
        self.frames += 1
        self.lost_frames += row.state == "lost"
        self.presence += row.presence
        self.area += row.area


@dataclass(slots=True)
class TrackSums:
    """The objects of one clip, by id."""

    _objects: dict[str, _Sums] = field(default_factory=dict)

    def counted(self, rows: Iterator[MaskRow]) -> Iterator[MaskRow]:
        """The same rows; each counts once it is asked for."""
        for row in rows:
            if row.object_id not in self._objects:
                self._objects[row.object_id] = _Sums(row.category, row.frame_index)
            self._objects[row.object_id].add(row)
            yield row

    def values(self) -> list[dict[str, Any]]:
        """The rows of `clips.tracks`, in the order of the objects' ids."""
        return [
            {
                "object_id": object_id,
                "category": sums.category,
                "first_frame": sums.first_frame,
                "last_frame": sums.last_frame,
                "frames": sums.frames,
                "lost_frames": sums.lost_frames,
                "mean_presence": sums.presence / sums.frames,
                "mean_area": sums.area / sums.frames,
                "path_px": sums.path_px,
            }
            for object_id, sums in sorted(self._objects.items())
        ]
