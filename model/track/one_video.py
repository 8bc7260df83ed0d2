"""Track objects through one video in this process: `track_video`, for a notebook or a script.

The engine and the way from its answers to masks and rotated boxes are the service's own.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch

from model.engine import Engine
from model.masks.rotated_box import RULES
from model.network.fastest import chosen_precision
from model.track.backward import BackwardResults
from model.track.finished import finish_objects
from model.track.object_tracker import ObjectAnswer, ObjectTracker
from model.track.objects import ClipFrames, Lifetimes, TrackError, backward_spans_of, spans_of
from model.track.results import FrameResult, ObjectResult
from model.track.start_box import DIRECTIONS, StartBox
from model.tracker import PRESETS, TrackerParams, TrackState, load_params, params_from_json
from model.tracker.presence import presence_of
from model.video import Frame, Video, open_video
from model.weights import LoadedWeights, load_weights

BUNDLED_WEIGHTS = Path(__file__).resolve().parents[1] / "bundled" / "siammask-r18.safetensors"
Progress = Callable[[int, int], None]
"""Called with the frames done and their number in all; a frame that is tracked both ways counts twice."""


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

    Files and boxes are checked at once; frames are decoded and tracked as the iterator is used, and none is kept. Where
    objects are tracked backward, that is done before the first frame is yielded, and takes a second decoding.

    Args:
        path: the video.
        boxes: x, y, w, h in pixels of the upright frame, by object id; or `StartBox`es, which may hold key frames
            and directions.
        init_frames: source frame of an object's box, for those that do not start on `start_frame`.
        start_frame, end_frame: half-open range of source frames; by default the whole video.
        weights: our safetensors or a public SiamMask `.pth`; by default the bundled model.
        device: "auto" (a GPU where there is one), "cpu", "cuda", "cuda:1", …
        precision: "auto", "fp32", "bf16", "fp16" or, on a CPU with weights that have ranges for it, "int8".
        preset: tracker hyper-parameters, "vot", "vot18", "davis", "robust" or a JSON file; by default the weights' own.
        rotated_box: how a mask becomes a box: "minmax", "mbr", "opt" or "ellipse".
        images: whether results hold their frame, so that `FrameResult.overlay` can draw on it.
        progress: True shows a bar; a function is called with the frames done and their number in all.

    Yields:
        Every frame of the range that decodes, in order, from the first on; objects are there where they are tracked.

    Raises:
        VideoError: the video cannot be read.
        WeightsError, PresetError: weights or preset cannot be used.
        ValueError: an option is unknown, the range is empty, or a box or init frame lies outside of it.
    """
    video = open_video(path)
    end = video.frames if end_frame is None else min(end_frame, video.frames)
    if not 0 <= start_frame < end:
        raise ValueError(f"frames {start_frame} to {end_frame} of {path}: it has {video.frames} frames")
    if rotated_box not in RULES:
        raise ValueError(f"rotated_box {rotated_box!r}: expected {', '.join(RULES[:-1])} or {RULES[-1]}")
    starts = _start_boxes(boxes, dict(init_frames or {}), video)
    frames = ClipFrames(start_frame, end, video.height, video.width)
    try:
        spans_of(starts, frames)
    except TrackError as error:
        raise _argument_error(error, frames) from None
    loaded = load_weights(Path(weights or BUNDLED_WEIGHTS))
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    params = _params(loaded, preset)
    make_engine = partial(
        Engine,
        loaded.model,
        params,
        device=device,
        precision=chosen_precision(precision, device, loaded.model),
        max_tracks=len({start.object_id for start in starts}),
        presence=presence_of(loaded.metadata),
    )
    results = _results(make_engine, video, frames, starts, rule=rotated_box, params=params, images=images)
    return _with_progress(results, end - start_frame + len(_backward_range(starts, frames)), progress)


def _start_boxes(
    boxes: Mapping[str, Sequence[float]] | Iterable[StartBox], init_frames: dict[str, int], video: Video
) -> list[StartBox]:
    if isinstance(boxes, Mapping):
        unknown = sorted(set(init_frames) - set(boxes))
        if unknown:
            raise ValueError(f"init_frames names {', '.join(unknown)}, which boxes do not")
        boxes = [StartBox(str(key), tuple(box), init_frames.get(key)) for key, box in boxes.items()]
    starts = list(boxes)
    if not starts:
        raise ValueError("no box: give at least one object to track")
    for start in starts:
        try:
            TrackState.from_box(start.box, video.height, video.width)
        except ValueError as error:
            raise ValueError(f"object {start.object_id!r}: {error}") from None
        if start.direction not in DIRECTIONS:
            expected = f"{', '.join(DIRECTIONS[:-1])} or {DIRECTIONS[-1]}"
            raise ValueError(f"object {start.object_id!r}: direction {start.direction!r}: expected {expected}")
    return starts


def _argument_error(error: TrackError, frames: ClipFrames) -> ValueError:
    """The error in the words of `track_video`, whose arguments are not the columns of a manifest."""
    where = f"object {error.object_id!r}: its init frame {error.frame}"
    if error.error_type == "InitFrameNotDecoded":
        return ValueError(f"{where} could not be decoded")
    if not frames.first <= error.frame < frames.end:
        return ValueError(f"{where} is not among frames {frames.first} to {frames.end - 1}")
    return ValueError(error.message)


def _params(loaded: LoadedWeights, preset: str | None) -> TrackerParams:
    if preset is not None:
        return load_params(preset)
    if "tracker" in loaded.metadata:
        return params_from_json(json.dumps(loaded.metadata["tracker"]), "the weights' tracker")
    return PRESETS["default"]


def _backward_range(starts: list[StartBox], frames: ClipFrames) -> range:
    """The frames on which objects are tracked backward."""
    spans = backward_spans_of(starts, frames)
    return range(min(span.end_frame for span in spans) + 1, spans[0].frame + 1) if spans else range(0)


def _results(
    make_engine: Callable[[], Engine],
    video: Video,
    frames: ClipFrames,
    starts: list[StartBox],
    *,
    rule: str,
    params: TrackerParams,
    images: bool,
) -> Iterator[FrameResult | None]:
    """The results of the frames, before them None for each that is tracked backward.

    The engine works on frame n + 1 while the masks of frame n are finished.
    """
    ids = tuple(sorted({start.object_id for start in starts}))

    def objects_of(answers: list[ObjectAnswer]) -> dict[str, ObjectResult]:
        objects = {}
        for item in finish_objects(answers, video.height, video.width, rule, params):
            answer, mask = item.answer, item.mask
            objects[answer.object_id] = ObjectResult(
                answer.score, item.presence, item.state, item.bbox, mask.rle, mask.area, mask.rbox, mask.corners,
                mask.rbox_from_mask,
            )
        return objects

    with make_engine() as engine:
        try:
            index = None
            while index is not video.index:  # or the frames that were given may have another index
                index, backward = video.index, BackwardResults[ObjectResult]()
                lifetimes = Lifetimes(backward_spans_of(starts, frames), backward=True)
                wanted = _backward_range(starts, frames)
                reading = video.read_backward(wanted.start, wanted.stop)
                for frame, answers in _tracked(ObjectTracker(engine, lifetimes, params.joint), reading):
                    backward.push(frame.index, objects_of(answers))
                    yield None
            lifetimes = Lifetimes(spans_of(starts, frames))
            reading = video.read(frames.first, frames.end)
            for frame, answers in _tracked(ObjectTracker(engine, lifetimes, params.joint), reading):
                objects = backward.merged(frame.index, objects_of(answers))
                yield FrameResult(frame.index, frame.pts_s, objects, frame.image if images else None, ids)
        except TrackError as error:
            raise error.__cause__ or _argument_error(error, frames) from None


def _tracked(tracker: ObjectTracker, reading: Iterator[Frame]) -> Iterator[tuple[Frame, list[ObjectAnswer]]]:
    """Each frame with the answers for its objects, while the engine works on the next."""
    before: Frame | None = None
    with contextlib.closing(reading) as read:  # type: ignore[type-var]
        for frame in read:
            answers = tracker.push(frame.index, frame.pts_s, frame.image[..., ::-1])
            if before is not None:
                yield before, answers
            before = frame
    if before is not None:
        yield before, tracker.drain()
    tracker.lifetimes.finish()


def _with_progress(
    results: Iterator[FrameResult | None], total: int, progress: Progress | bool
) -> Iterator[FrameResult]:
    if progress is False:
        yield from (result for result in results if result is not None)
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
            if result is not None:
                yield result
