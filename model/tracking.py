"""Track objects through one video in this process: `track_video`, for a notebook or a script.

The engine and the way from its answers to masks and rotated boxes are the service's own.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from model.engine import Engine, Track, TrackOutput
from model.masks import finish
from model.prepare import resolve_precision
from model.results import FrameResult, ObjectResult
from model.start_box import StartBox
from model.tracker import PRESETS, TrackerParams, TrackState, load_params, params_from_json
from model.video import Frame, Video, open_video
from model.weights import LoadedWeights, load_weights

BUNDLED_WEIGHTS = Path(__file__).parent / "bundled" / "siammask-r18.safetensors"
Progress = Callable[[int, int], None]
"""Called with the frames done and their number in all."""


def track_video(
    path: str | os.PathLike[str],
    boxes: Mapping[str, Sequence[float]] | Iterable[StartBox],
    *,
    init_frames: Mapping[str, int] | None = None,
    start_frame: int = 0,
    end_frame: int | None = None,
    weights: str | os.PathLike[str] | None = None,
    device: str = "auto",
    precision: str = "auto",
    preset: str | None = None,
    rotated_box: str = "mbr",
    images: bool = False,
    progress: Progress | bool = False,
) -> Iterator[FrameResult]:
    """Track objects through a local video and yield each frame's masks and rotated boxes.

    Files and boxes are checked at once; frames are decoded and tracked as the iterator is used, and none is kept.

    Args:
        path: the video.
        boxes: x, y, w, h in pixels of the upright frame, by object id; or `StartBox`es, which may hold key frames.
        init_frames: source frame of an object's box, for those that do not start on `start_frame`.
        start_frame, end_frame: half-open range of source frames; by default the whole video.
        weights: our safetensors or a public SiamMask `.pth`; by default the bundled model.
        device: "auto" (a GPU where there is one), "cpu", "cuda", "cuda:1", …
        precision: "auto", "fp32", "bf16" or "fp16".
        preset: tracker hyper-parameters, "vot", "vot18", "davis" or a JSON file; by default the weights' own.
        rotated_box: how a mask becomes a box: "minmax", "mbr", "opt" or "ellipse".
        images: whether results hold their frame, so that `FrameResult.overlay` can draw on it.
        progress: True shows a bar; a function is called with the frames done and their number in all.

    Yields:
        Every frame of the range that decodes, in order, from the first on; frames before an object's start lack it.

    Raises:
        VideoError: the video cannot be read.
        WeightsError, PresetError: weights or preset cannot be used.
        ValueError: an option is unknown, the range is empty, or a box or init frame lies outside of it.
    """
    video = open_video(path)
    end = video.frames if end_frame is None else min(end_frame, video.frames)
    if not 0 <= start_frame < end:
        raise ValueError(f"frames {start_frame} to {end_frame} of {path}: it has {video.frames} frames")
    if rotated_box not in ("minmax", "mbr", "opt", "ellipse"):
        raise ValueError(f"rotated_box {rotated_box!r}: expected minmax, mbr, opt or ellipse")
    starts = _starts(boxes, dict(init_frames or {}), video, start_frame, end)
    loaded = load_weights(Path(weights or BUNDLED_WEIGHTS))
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    tracks = len({start.object_id for start in starts})
    make_engine = partial(
        Engine,
        loaded.model,
        _params(loaded, preset),
        device=device,
        precision=resolve_precision(precision, device),
        max_tracks=tracks,
    )
    results = _results(make_engine, _Run(starts, video, rotated_box, images), start_frame, end)
    return _with_progress(results, end - start_frame, progress)


def _starts(
    boxes: Mapping[str, Sequence[float]] | Iterable[StartBox],
    init_frames: dict[str, int],
    video: Video,
    first: int,
    end: int,
) -> list[StartBox]:
    if isinstance(boxes, Mapping):
        unknown = sorted(set(init_frames) - set(boxes))
        if unknown:
            raise ValueError(f"init_frames names {', '.join(unknown)}, which boxes do not")
        boxes = [StartBox(str(key), tuple(box), init_frames.get(key)) for key, box in boxes.items()]
    starts = [StartBox(one.object_id, one.box, first if one.frame is None else one.frame) for one in boxes]
    if not starts:
        raise ValueError("no box: give at least one object to track")
    for one in starts:
        frame = one.frame or 0
        if not first <= frame < end:
            raise ValueError(
                f"object {one.object_id!r}: its init frame {frame} is not among frames {first} to {end - 1}"
            )
        try:
            TrackState.from_box(one.box, video.height, video.width)
        except ValueError as error:
            raise ValueError(f"object {one.object_id!r}: {error}") from None
    if len({(one.object_id, one.frame) for one in starts}) < len(starts):
        raise ValueError("an object starts twice on one frame: give each box a name of its own")
    return sorted(starts, key=lambda one: one.frame or 0)


def _params(loaded: LoadedWeights, preset: str | None) -> TrackerParams:
    if preset is not None:
        return load_params(preset)
    if "tracker" in loaded.metadata:
        return params_from_json(json.dumps(loaded.metadata["tracker"]), "the weights' tracker")
    return PRESETS["default"]


@dataclass(frozen=True, slots=True)
class _Asked:
    """A step under way; `start` on a frame where the track starts."""

    object_id: str
    start: StartBox | None
    future: Future[Any]


def _results(make_engine: Callable[[], Engine], run: _Run, first: int, end: int) -> Iterator[FrameResult]:
    """The engine works on frame n + 1 while the masks of frame n are finished."""
    before: tuple[Frame, list[_Asked]] | None = None
    with make_engine() as engine, contextlib.closing(run.video.read(first, end)) as frames:  # type: ignore[type-var]
        for frame in frames:
            answers = [] if before is None else run.answers(before[1])
            asked = run.submit(engine, frame)
            if before is not None:
                yield run.result(before[0], answers)
            before = frame, asked
        if before is not None:
            yield run.result(before[0], run.answers(before[1]))
    if run.starts:
        raise _not_decoded(run.starts[0])


@dataclass(slots=True)
class _Run:
    """The tracks of one pass over a video."""

    starts: list[StartBox]
    video: Video
    rule: str
    images: bool
    tracks: dict[str, Track] = field(default_factory=dict)
    ids: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.ids = tuple(sorted({start.object_id for start in self.starts}))

    def submit(self, engine: Engine, frame: Frame) -> list[_Asked]:
        """Hand a frame to the engine: the objects that start on it, and those that are being tracked."""
        image = frame.image[..., ::-1]
        asked: dict[str, _Asked] = {}
        while self.starts and (self.starts[0].frame or 0) <= frame.index:
            start = self.starts.pop(0)
            if start.frame != frame.index:
                raise _not_decoded(start)
            asked[start.object_id] = _Asked(start.object_id, start, engine.init(image, start.box))
        for object_id in self.tracks.keys() - asked.keys():
            asked[object_id] = _Asked(object_id, None, engine.step(self.tracks[object_id], image))
        return [asked[object_id] for object_id in sorted(asked)]

    def answers(self, asked: list[_Asked]) -> list[tuple[_Asked, TrackOutput]]:
        """Wait for the engine."""
        answers = []
        for one in asked:
            answer = one.future.result()
            if one.start is not None:
                self.tracks[one.object_id], answer = answer
            answers.append((one, answer))
        return answers

    def result(self, frame: Frame, answers: list[tuple[_Asked, TrackOutput]]) -> FrameResult:
        """Turn the answers into masks and boxes."""
        objects = {}
        for one, output in answers:
            made = finish(output, self.video.height, self.video.width, self.rule)
            objects[one.object_id] = ObjectResult(
                output.score, output.box, made.rle, made.area, made.rbox, made.corners, made.rbox_from_mask
            )
        return FrameResult(frame.index, frame.pts_s, objects, frame.image if self.images else None, self.ids)


def _not_decoded(start: StartBox) -> ValueError:
    return ValueError(f"object {start.object_id!r}: its init frame {start.frame} could not be decoded")


def _with_progress(results: Iterator[FrameResult], total: int, progress: Progress | bool) -> Iterator[FrameResult]:
    if progress is False:
        yield from results
        return
    with contextlib.ExitStack() as stack:
        if progress is True:
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            bar = stack.enter_context(
                Bar(TextColumn("tracking"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            )
            task = bar.add_task("tracking", total=total)

            def progress(done: int, _: int) -> None:
                bar.update(task, completed=done)

        stack.enter_context(contextlib.closing(results))  # type: ignore[type-var]
        for done, result in enumerate(results, start=1):
            progress(done, total)
            yield result
