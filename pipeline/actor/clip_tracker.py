"""Track the objects of one clip through its frames, with an engine that other clips share.

No Ray here: frames go in, mask rows come out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import InitVar, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.masks.init_box import box_from_polygon, box_from_rle
from model.track.backward import BackwardResults
from model.track.finished import finish_objects
from model.track.object_tracker import ObjectAnswer, ObjectTracker, TrackingEngine
from model.track.objects import ClipFrames, Lifetimes, TrackError, backward_spans_of, spans_of
from model.track.start_box import StartBox
from model.tracker import PRESETS, TrackerParams
from pipeline import storage
from pipeline.clip import Clip, ObjectStart
from pipeline.decode.events import Chunk, Opened
from pipeline.output.schema import MaskRow
from pipeline.plan.options import RotatedBox


@dataclass(slots=True)
class ClipTracker:
    """Tracks the objects of one clip: feed it every chunk in order, those that are backward first, then `flush`.

    The engine works on one frame while the masks of the frame before are turned into rows. Rows of the backward pass
    wait on the disk until the forward pass comes to their frames; of an object that both passes have on a frame, the
    row of higher presence is taken.

    Args:
        clip: what to track.
        opened: the clip's range and frame size.
        stride: frames are a multiple of it after the first.
        rule: how a mask becomes a rotated box.
        params: the tracker's, which are the engine's too.
        scratch: a local folder for what waits; None is the system's temporary folder.

    Raises:
        TrackError: an object cannot start as the manifest asks.
    """

    clip: InitVar[Clip]
    opened: Opened
    engine: InitVar[TrackingEngine]
    stride: InitVar[int] = 1
    rule: RotatedBox = "mbr"
    params: TrackerParams = PRESETS["default"]
    scratch: Path | None = None
    _forward: ObjectTracker = field(init=False)
    _backward: ObjectTracker | None = field(init=False)
    _waiting: BackwardResults[MaskRow] = field(init=False)
    _frame_index: int | None = field(default=None, init=False)
    _categories: dict[str, str | None] = field(init=False)

    def __post_init__(self, clip: Clip, engine: TrackingEngine, stride: int) -> None:
        info = self.opened.info
        frames = ClipFrames(self.opened.start_frame, self.opened.end_frame, info.height, info.width, stride)
        starts = [_start_box(start, frames) for start in clip.objects]
        self._categories = clip.categories
        backward = Lifetimes(backward_spans_of(starts, frames), backward=True)
        self._forward = ObjectTracker(engine, Lifetimes(spans_of(starts, frames)), self.params.joint)
        self._backward = ObjectTracker(engine, backward, self.params.joint)
        self._waiting = BackwardResults(None if self.scratch is None else str(self.scratch))

    def backward(self, chunk: Chunk) -> None:
        """Track backward through a chunk of the backward pass; its rows come with those of the forward pass.

        Raises:
            StorageError: the scratch disk is full or broken.
        """
        assert self._backward is not None
        for index, pts, frame in _frames(chunk):
            self._put_away(self._backward.push(index, pts, frame))

    def chunk(self, chunk: Chunk) -> Iterator[MaskRow]:
        """Track through a chunk of the forward pass; yields the rows that are ready, one frame behind.

        Raises:
            TrackError: an object never started backward, since its init frame was not decoded.
            StorageError: the scratch disk is full or broken.
        """
        self._end_backward()
        for index, pts, frame in _frames(chunk):
            answers = self._forward.push(index, pts, frame)
            yield from self._ready(answers)
            self._frame_index = index

    def flush(self) -> Iterator[MaskRow]:
        """The rows of the last frame; call it once, after the last chunk.

        Raises:
            TrackError: an object never started, since its init frame was not decoded.
        """
        self._end_backward()
        yield from self.abandon()
        self._forward.lifetimes.finish()

    def abandon(self) -> Iterator[MaskRow]:
        """The rows of the last frame of a clip that ends early; objects yet to start are left out."""
        yield from self._ready(self._forward.drain())

    def _end_backward(self) -> None:
        if self._backward is not None:
            self._put_away(self._backward.drain())
            self._backward.lifetimes.finish()
            self._backward = None  # its tracks are let go

    def _put_away(self, answers: list[ObjectAnswer]) -> None:
        if answers:
            with storage.reporting(str(self.scratch), "write"):
                self._waiting.push(answers[0].frame_index, self._rows(answers))

    def _ready(self, answers: list[ObjectAnswer]) -> Iterator[MaskRow]:
        """The rows of the frame before, of which these are the answers forward."""
        if self._frame_index is not None:
            rows = self._rows(answers)
            with storage.reporting(str(self.scratch), "read"):
                rows = self._waiting.merged(self._frame_index, rows)
            yield from rows.values()

    def _rows(self, answers: list[ObjectAnswer]) -> dict[str, MaskRow]:
        info = self.opened.info
        rows = {}
        for item in finish_objects(answers, info.height, info.width, self.rule, self.params):
            answer, mask = item.answer, item.mask
            rows[answer.object_id] = MaskRow(
                answer.object_id,
                answer.frame_index,
                answer.pts_s,
                answer.score,
                item.presence,
                item.state,
                item.bbox,
                mask.rle,
                mask.area,
                mask.rbox,
                mask.corners,
                mask.rbox_from_mask,
                self._categories[answer.object_id],
            )
        return rows


def _frames(chunk: Chunk) -> Iterator[tuple[int, float, NDArray[np.uint8]]]:
    """Index, time and BGR pixels of each frame."""
    for index, pts, frame in zip(chunk.frame_index.tolist(), chunk.pts_s.tolist(), chunk.frames, strict=True):
        yield index, pts, frame[..., ::-1]


def _start_box(start: ObjectStart, frames: ClipFrames) -> StartBox:
    """The axis-aligned box that starts an object, given as it is or made of a polygon or a mask."""
    try:
        if start.polygon is not None:
            box = box_from_polygon(start.polygon)
        elif start.mask is not None:
            box = box_from_rle(dict(start.mask), frames.height, frames.width)
        else:
            assert start.box is not None
            box = start.box
    except ValueError as error:
        frame = frames.first if start.init_frame is None else start.init_frame
        message = f"object {start.object_id!r}: {error}"
        raise TrackError("init", "UnusableInit", start.object_id, frame, message) from error
    return StartBox(start.object_id, box, start.init_frame, start.end_frame, start.direction)
