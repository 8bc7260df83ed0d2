"""One clip's rows of `masks` in memory, found by object and frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from model.video.overlay import TrackedObject

DRAWN = ("object_id", "score", "mask", "corners", "state")
TRACK_COLUMNS = ("frame_index", "presence", *DRAWN)


@dataclass(frozen=True)
class ClipMasks:
    """One clip's rows of the `masks` table, found by frame.

    Attributes:
        clip: the clip's row of the `clips` table.
        table: its rows of the `masks` table, sorted by frame_index, then object_id.
    """

    clip: Mapping[str, Any]
    table: pa.Table

    @classmethod
    def sort(cls, clip: Mapping[str, Any], rows: pa.Table) -> ClipMasks:
        """The same from rows in any order."""
        return cls(clip, rows.sort_by([("frame_index", "ascending"), ("object_id", "ascending")]))

    @cached_property
    def object_ids(self) -> list[str]:
        """The clip's objects, in order of their ids."""
        return sorted(pc.unique(self.table["object_id"]).to_pylist())

    @cached_property
    def frames(self) -> np.ndarray:
        """The frames that have rows, int64 [n], ascending."""
        return np.unique(self._frame_of_row)

    @cached_property
    def stride(self) -> int:
        """Frames between two tracked ones: the largest step from the clip's first frame that meets all rows.

        The clip's length where only the first frame has rows.
        """
        start, end = self.clip["start_frame"] or 0, self.clip["end_frame"] or 0
        steps = self.frames - start
        return int(np.gcd.reduce(steps)) if steps.any() else max(1, end - start)

    def rows_of(self, frame_index: int) -> list[dict[str, Any]]:
        """A frame's rows in order of their objects' ids; none where the table has no row for it."""
        first, last = np.searchsorted(self._frame_of_row, [frame_index, frame_index + 1])
        return self.table.slice(first, last - first).to_pylist()

    def at(self, frame_index: int) -> list[TrackedObject]:
        """The objects of a frame in the order in which they are drawn: the likeliest last, over the others.

        None where the table has no row for the frame.
        """
        from model.video.overlay import TrackedObject  # OpenCV is loaded only by those who draw

        # Of equal rows the first id is drawn last: sorting keeps the order of equals.
        rows = sorted(self.rows_of(frame_index)[::-1], key=lambda row: (row["presence"] or 0.0, row["score"]))
        return [TrackedObject(**{name: row[name] for name in DRAWN}) for row in rows]

    @cached_property
    def _frame_of_row(self) -> np.ndarray:
        return self.table["frame_index"].to_numpy()
