"""One clip of a run: its row, its masks as arrays, its frames as pictures."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.dataset as ds

from pipeline import storage
from pipeline.output.names import MASKS_FOLDER
from pipeline.output.schema import MASKS
from pipeline.reading.clip_masks import TRACK_COLUMNS, ClipMasks
from pipeline.reading.errors import NoSuchFrame, NoSuchObject
from pipeline.reading.rows import Rows

if TYPE_CHECKING:
    from model.video.overlay import OverlayStyle
    from pipeline.reading.draw import Shown
    from pipeline.reading.options import Between, Layout


@dataclass(frozen=True)
class RunClip:
    """One clip of an opened run. Its rows of `masks` are read at the first need and kept.

    Attributes:
        output: URI of the output folder.
        row: its row of `clips`, by column name.
        video: the absolute URI of its video; None where it cannot be told.
    """

    output: str
    row: Mapping[str, Any]
    video: str | None

    @property
    def clip_id(self) -> str:
        return self.row["clip_id"]

    def masks(self, columns: tuple[str, ...] | None = None) -> Rows:
        """Its rows of `masks`, not yet read; none where it failed. All columns by default."""
        folder = storage.join(self.output, MASKS_FOLDER)
        filesystem, path = storage.filesystem_for(folder)
        parts = [f"{path}/{self.row['masks_part']}"] if self.row["masks_part"] else []
        dataset = ds.dataset(parts, schema=MASKS, format="parquet", filesystem=filesystem)
        return Rows(dataset.filter(pc.field("clip_id") == self.clip_id), columns or tuple(MASKS.names), folder)

    @cached_property
    def tracks(self) -> ClipMasks:
        """The rows in memory, found by frame.

        Raises:
            NoSuchObject: the clip failed, so it has no masks.
            StorageError: the table cannot be read.
        """
        self._check_tracked()
        return ClipMasks.sort(self.row, self.masks(TRACK_COLUMNS).arrow())

    @property
    def object_ids(self) -> list[str]:
        """The ids of its objects, sorted."""
        return self.tracks.object_ids

    def mask(self, object_id: str, frame: int) -> np.ndarray:
        """An object's mask in a frame.

        Args:
            object_id: the object.
            frame: index in the source video, from 0.

        Returns:
            bool [H, W], the full upright frame.

        Raises:
            NoSuchObject: the clip has no such object.
            NoSuchFrame: the object has no row for this frame.
        """
        from pycocotools import mask as coco

        for row in self.tracks.rows_of(frame):
            if row["object_id"] == object_id:
                return coco.decode(row["mask"]).astype(bool)
        if object_id not in self.object_ids:
            raise NoSuchObject(
                f"clip {self.clip_id} has no object {object_id!r}; it has {', '.join(map(repr, self.object_ids))}"
            )
        self._check_range(frame)
        raise NoSuchFrame(
            f"clip {self.clip_id}, object {object_id}: no row for frame {frame}: it was not tracked there "
            f"(before its start or after its end, between two strides of {self.tracks.stride}), or the frame could "
            "not be decoded"
        )

    def overlay(self, frame: int, style: OverlayStyle | None = None) -> np.ndarray:
        """A frame of the source video with its objects drawn on it; `overlays` is quicker for many.

        Args:
            frame: index in the source video, inside the clip's range.
            style: what to draw, everything by default.

        Returns:
            uint8 [H, W, 3], RGB.

        Raises:
            NoSuchObject: the clip failed, so it has no masks.
            NoSuchFrame: the frame is outside of the range, or cannot be decoded.
            RenderError: the video cannot be found or decoded, or is another one than that which was tracked.
        """
        self._check_range(frame)
        with contextlib.closing(self.overlays(frame, frame + 1, style)) as drawn:
            for _, picture in drawn:
                return picture
        raise NoSuchFrame(f"clip {self.clip_id}: frame {frame} cannot be decoded")

    def overlays(
        self, start: int | None = None, end: int | None = None, style: OverlayStyle | None = None
    ) -> Generator[tuple[int, np.ndarray]]:
        """The frames of [start, end) that decode, in order, each with its index, as `overlay` draws them."""
        with contextlib.closing(self.drawn(start=start, end=end, style=style)) as drawn:
            for shown in drawn:
                yield shown.index, shown.picture

    def drawn(
        self,
        *,
        start: int | None = None,
        end: int | None = None,
        layout: Layout = "overlay",
        style: OverlayStyle | None = None,
        between: Between = "hold",
    ) -> Generator[Shown]:
        """The frames of [start, end) that decode, in order, as `pipeline.reading.draw.draw_masks` draws them.

        Raises:
            NoSuchObject: the clip failed, so it has no masks.
            RenderError: as `draw_masks` has it.
            StorageError: the tables cannot be read.
        """
        from pipeline.reading.draw import draw_masks  # decoding is loaded only by those who look at pictures

        yield from draw_masks(
            self.tracks, self.video, start=start, end=end, layout=layout, style=style, between=between
        )

    def _check_tracked(self) -> None:
        if self.row["status"] == "failed":
            raise NoSuchObject(
                f"clip {self.clip_id} has no masks: it failed "
                f"({self.row['error_stage']}: {self.row['error_message']})"
            )

    def _check_range(self, frame: int) -> None:
        self._check_tracked()
        start, end = self.row["start_frame"], self.row["end_frame"]
        if not start <= frame < end:
            raise NoSuchFrame(f"clip {self.clip_id} has no frame {frame}; its frames are {start} to {end - 1}")
