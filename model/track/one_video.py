"""Track objects through one video in this process: `track_video`, for a notebook or a script.

The engine and the way from its answers to masks and rotated boxes are the service's own.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from model.engine import Engine
from model.masks.rotated_box import RULES
from model.network.fastest import chosen_precision
from model.track.backward import BackwardResults
from model.track.finished import finish_objects
from model.track.object_tracker import ObjectAnswer, ObjectTracker
from model.track.objects import ClipFrames, Lifetimes, TrackError, backward_spans_of, spans_of
from model.track.results import FrameResult, ObjectResult
from model.track.start_box import StartBox
from model.track.starts import Region, start_boxes
from model.tracker import PRESETS, TrackerParams, load_params, params_from_json
from model.tracker.presence import presence_of
from model.video import ArrayVideo, Frame, Video, open_video
from model.weights import LoadedWeights, load_weights

BUNDLED_WEIGHTS = Path(__file__).resolve().parents[1] / "bundled" / "siammask-r18.safetensors"
_NO_END = sys.maxsize
Source = Video | ArrayVideo
Progress = Callable[[int, int], None]
"""Called with the frames done and their number in all; a frame that is tracked both ways counts twice."""


def track_video(
    video: str | os.PathLike[str] | Iterable[NDArray[np.uint8]],
    boxes: Mapping[str, Region] | Iterable[StartBox],
    *,
    init_frames: Mapping[str, int] | None = None,
    start_frame: int = 0,
    end_frame: int | None = None,
    fps: float | None = None,
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
        video: the path of a video file, of a folder of pictures, of a pattern of them (`frames/%05d.jpg`), or of a zip
            file with them; or the frames themselves, uint8 [H, W, 3] in RGB order (OpenCV reads BGR: give
            `frame[..., ::-1]`), all of one size. A list or an array [N, H, W, 3] may be tracked in all directions. A
            generator is gone through once, up to `end_frame`, with one frame ahead; its first frame is taken by the
            call itself.
        boxes: by object id, in pixels of the upright frame: a box x, y, w, h; a polygon of four corners; or a mask of
            the whole frame, bool [H, W] or COCO RLE. Or `StartBox`es, which may hold key frames and directions.
        init_frames: source frame of an object's box, for those that do not start on `start_frame`.
        start_frame, end_frame: half-open range of source frames; by default the whole video.
        fps: frames a second of pictures and arrays, 25 by default; a file tells its own.
        weights: our safetensors or a public SiamMask `.pth`; by default the bundled model.
        device: "auto" (a GPU where there is one), "cpu", "cuda", "cuda:1", …
        precision: "auto", "fp32", "bf16", "fp16" or, on a CPU with weights that have ranges for it, "int8".
        preset: tracker hyper-parameters, "vot", "vot18", "davis", "robust" or a JSON file; by default the weights' own.
        rotated_box: how a mask becomes a box: "minmax", "mbr", "opt" or "ellipse".
        images: whether results hold their frame, so that `FrameResult.overlay` can draw on it.
        progress: True shows a bar; a function is called with the frames done and their number in all, which is 0 for a
            generator without `end_frame`.

    Yields:
        Every frame of the range that decodes, in order, from the first on; objects are there where they are tracked.

    Raises:
        VideoError: the video cannot be read.
        WeightsError, PresetError: weights or preset cannot be used.
        ValueError: an option is unknown, the range is empty, or a box or init frame lies outside of it; frames are no
            such arrays; or an object is to be tracked backward through a generator.
    """
    source, name = _source(video, fps)
    known = [count for count in (end_frame, source.frames) if count is not None]
    end = min(known, default=_NO_END)
    if not 0 <= start_frame < end:
        has = "" if source.frames is None else f": it has {source.frames} frames"
        raise ValueError(f"frames {start_frame} to {end_frame} of {name}{has}")
    if rotated_box not in RULES:
        raise ValueError(f"rotated_box {rotated_box!r}: expected {', '.join(RULES[:-1])} or {RULES[-1]}")
    starts = start_boxes(boxes, dict(init_frames or {}), source.height, source.width)
    frames = ClipFrames(start_frame, end, source.height, source.width)
    try:
        spans_of(starts, frames)
        backward = backward_spans_of(starts, frames)
    except TrackError as error:
        raise _argument_error(error, frames) from None
    if backward and isinstance(source, ArrayVideo) and source.once:
        raise ValueError(
            f"object {backward[0].object_id!r}: tracking backward needs the frames twice, and {name} gives them once: "
            "give a list, an array or a path"
        )
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
    results = _results(make_engine, source, frames, starts, rule=rotated_box, params=params, images=images)
    total = end - start_frame + len(_backward_range(starts, frames)) if known else 0
    return _with_progress(results, total, progress)


def _source(video: str | os.PathLike[str] | Iterable[NDArray[np.uint8]], fps: float | None) -> tuple[Source, str]:
    """What the frames are read from, and how a sentence names it."""
    if fps is not None and not 0 < fps < float("inf"):
        raise ValueError(f"fps {fps!r}: expected frames a second, above 0")
    if isinstance(video, str | os.PathLike):
        return (open_video(video) if fps is None else open_video(video, rate=fps)), os.fspath(video)
    return ArrayVideo(video, fps=fps), f"the {type(video).__name__} of frames"


def _argument_error(error: TrackError, frames: ClipFrames) -> ValueError:
    """The error in the words of `track_video`, whose arguments are not the columns of a manifest."""
    where = f"object {error.object_id!r}: its init frame {error.frame}"
    if error.error_type == "InitFrameNotDecoded" and error.frame < frames.end:
        return ValueError(f"{where} could not be decoded")
    if frames.end in (0, _NO_END) or frames.end <= frames.first:
        count = "" if frames.end == _NO_END else f", and the video has {frames.end} frames"
        return ValueError(f"{where} is not there: tracking starts on frame {frames.first}{count}")
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
    video: Source,
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
            if video.frames is not None:  # a generator has told it by now
                frames = replace(frames, end=min(frames.end, video.frames))
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
            task = bar.add_task("tracking", total=total or None)

            def progress(done: int, _: int) -> None:
                bar.update(task, completed=done)

        stack.enter_context(contextlib.closing(results))  # type: ignore[type-var]
        for done, result in enumerate(results, start=1):
            progress(done, total)
            if result is not None:
                yield result
