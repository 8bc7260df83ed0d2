"""Track the objects of one clip through its frames, with an engine that other clips share.

No Ray and no storage here: frames go in, mask rows come out.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.clips import Clip, ObjectStart
from pipeline.decode.events import Chunk, Opened
from pipeline.tables import MaskResult

Frame = NDArray[np.uint8]


class TrackingEngine(Protocol):
    """What tracking asks of an engine; `model.engine.Engine` is one. Frames are BGR."""

    def init(self, frame: Frame, box: NDArray[np.float64]) -> Future[Any]: ...

    def step(self, track: Any, frame: Frame) -> Future[Any]: ...


class PostProcess(Protocol):
    """The geometry that turns what the manifest and the engine give into rows; `model` provides it.

    ``finish`` answers as `model.masks.finish` does: rle, area, rbox, corners, rbox_from_mask.
    """

    def init_box(self, start: ObjectStart, height: int, width: int) -> NDArray[np.float64]: ...

    def finish(self, output: Any, height: int, width: int) -> MaskResult: ...


class TrackError(Exception):
    """A clip that cannot be tracked as its manifest row asks; becomes its failed row.

    `stage` and `error_type` are the columns of `clips`; `error_type` is one of `ObjectOutsideFrame`,
    `InitFrameOutsideClip`, `InitFrameOffStride`, `InitFrameNotDecoded`, `UnusableInit` (stage init), or the name of
    what the tracker raised (stage track).
    """

    def __init__(self, stage: str, error_type: str, message: str) -> None:
        super().__init__(stage, error_type, message)
        self.stage, self.error_type, self.message = stage, error_type, message


@dataclass(frozen=True, slots=True)
class TrackedFrame:
    """One object on one frame: a row of the `masks` table, without its clip (`pipeline.tables.MaskRow`)."""

    object_id: str
    frame_index: int
    pts_s: float
    score: float
    bbox: NDArray[np.float64]
    finished: MaskResult


@dataclass(slots=True)
class _Live:
    """An object being tracked: its track once initialised, and where its rows end."""

    end_frame: int
    track: Any = None
    pending: Future[Any] | None = None


@dataclass(frozen=True, slots=True)
class _Start:
    start: ObjectStart
    frame: int
    end_frame: int
    box: NDArray[np.float64]


@dataclass(slots=True)
class _Pending:
    """A search step under way: what its row needs besides the engine's answer."""

    object_id: str
    frame_index: int
    pts_s: float
    future: Future[Any]
    init_box: NDArray[np.float64] | None


@dataclass(slots=True)
class ClipTracker:
    """Tracks the objects of one clip; feed it every chunk in order, then `flush`.

    The engine works on frame n + 1 while the masks of frame n are turned into rows.

    Args:
        clip: what to track.
        opened: the clip's range and frame size.
        stride: frames are a multiple of it after the first.

    Raises:
        TrackError: an object's init frame lies outside the clip or off its stride, or its box outside the frame.
    """

    clip: Clip
    opened: Opened
    engine: TrackingEngine
    post: PostProcess
    stride: int = 1
    tracked: int = 0
    _starts: list[_Start] = field(default_factory=list)
    _live: dict[str, _Live] = field(default_factory=dict)
    _pending: list[_Pending] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._starts = sorted((self._resolve(start) for start in self.clip.objects), key=lambda s: s.frame)
        seen: set[tuple[str, int]] = set()
        for start in self._starts:  # with a range in seconds, only now is it known which frame is the first
            at = start.start.object_id, start.frame
            if at in seen:
                raise TrackError("init", "UnusableInit", f"object {at[0]!r}: it starts twice on frame {at[1]}")
            seen.add(at)

    def chunk(self, chunk: Chunk) -> Iterator[TrackedFrame]:
        """Track through a chunk; yields the rows that are ready, one frame behind."""
        for index, pts, frame in zip(chunk.frame_index.tolist(), chunk.pts_s.tolist(), chunk.frames, strict=True):
            done = self._wait()
            self._submit(index, pts, frame[..., ::-1])
            yield from self._rows(done)

    def flush(self) -> Iterator[TrackedFrame]:
        """The rows of the last frame; call it once, after the last chunk.

        Raises:
            TrackError: an object never started, since its init frame was not decoded.
        """
        yield from self._rows(self._wait())
        if self._starts:
            self._missed(self._starts[0])

    def abandon(self) -> Iterator[TrackedFrame]:
        """The rows of the last frame of a clip that ends early; objects yet to start are left out."""
        yield from self._rows(self._wait())

    def _submit(self, index: int, pts: float, frame: Frame) -> None:
        while self._starts and self._starts[0].frame <= index:
            start = self._starts.pop(0)
            if start.frame != index:
                self._missed(start)
            future = self.engine.init(frame, start.box)
            object_id = start.start.object_id
            self._live[object_id] = _Live(start.end_frame, pending=future)
            self._pending.append(_Pending(object_id, index, pts, future, start.box))
        started = {item.object_id for item in self._pending}
        for object_id, live in list(self._live.items()):
            if index >= live.end_frame:
                del self._live[object_id]
            elif object_id not in started:
                future = self.engine.step(live.track, frame)
                self._pending.append(_Pending(object_id, index, pts, future, None))

    def _wait(self) -> list[tuple[_Pending, Any]]:
        done = []
        for item in self._pending:
            try:
                answer = item.future.result()
            except Exception as error:
                raise _failed(item, error) from error
            if item.init_box is not None:
                track, answer = answer
                self._live[item.object_id].track = track
            done.append((item, answer))
        self._pending = []
        return done

    def _rows(self, done: list[tuple[_Pending, Any]]) -> Iterator[TrackedFrame]:
        height, width = self.opened.info.height, self.opened.info.width
        for item, output in done:
            try:
                finished = self.post.finish(output, height, width)
            except Exception as error:
                raise _failed(item, error) from error
            self.tracked += 1
            yield TrackedFrame(
                item.object_id,
                item.frame_index,
                item.pts_s,
                1.0 if item.init_box is not None else float(output.score),
                item.init_box if item.init_box is not None else output.box,
                finished,
            )

    def _resolve(self, start: ObjectStart) -> _Start:
        first, end = self.opened.start_frame, self.opened.end_frame
        frame = first if start.init_frame is None else start.init_frame
        where = f"object {start.object_id!r}"
        if not first <= frame < end:
            raise TrackError(
                "init",
                "InitFrameOutsideClip",
                f"{where}: init_frame {frame} lies outside of the clip's frames {first} to {end - 1}",
            )
        if (frame - first) % self.stride:
            raise TrackError(
                "init",
                "InitFrameOffStride",
                f"{where}: init_frame {frame} is not a multiple of the stride {self.stride} after frame {first}",
            )
        if start.end_frame is not None and start.end_frame <= frame:
            raise TrackError(
                "init",
                "InitFrameOutsideClip",
                f"{where}: its end_frame {start.end_frame} is not after its init_frame {frame}",
            )
        width, height = self.opened.info.width, self.opened.info.height
        try:
            box = self.post.init_box(start, height, width)
        except ValueError as error:
            raise TrackError("init", "UnusableInit", f"{where}: {error}") from error
        x, y, w, h = (float(value) for value in box)
        if x >= width or y >= height or x + w <= 0 or y + h <= 0:
            raise TrackError(
                "init",
                "ObjectOutsideFrame",
                f"{where}: its box x={x:g} y={y:g} w={w:g} h={h:g} lies outside of the {width}x{height} frame",
            )
        return _Start(start, frame, end if start.end_frame is None else start.end_frame, box)

    def _missed(self, start: _Start) -> None:
        raise TrackError(
            "init",
            "InitFrameNotDecoded",
            f"object {start.start.object_id!r}: its init_frame {start.frame} could not be decoded",
        )


def _failed(item: _Pending, error: Exception) -> TrackError:
    return TrackError("track", type(error).__name__, f"object {item.object_id!r}, frame {item.frame_index}: {error}")
