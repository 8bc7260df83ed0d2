"""One clip's objects through its frames, against an engine that counts and answers late."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco

from model.track import finished
from model.track.objects import TrackError
from model.tracker.rivals import ALONE, Others
from pipeline.actor.clip_tracker import ClipTracker
from pipeline.clip import Clip, ObjectStart
from pipeline.decode.events import Chunk, Opened, VideoInfo
from pipeline.output.schema import MaskRow


@dataclass
class FakeTrack:
    box: np.ndarray
    steps: int = 0
    busy: bool = False


class FakeEngine:
    """Answers from the frame's first pixel, so that a row tells which frame and which track it came from."""

    def __init__(self) -> None:
        self.colours: list[tuple[int, ...]] = []

    def init(self, frame: np.ndarray, box: np.ndarray) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result((FakeTrack(np.asarray(box)), self._output(frame, 0)))
        return future

    def step(
        self, track: FakeTrack, frame: np.ndarray, others: Others = ALONE, *, again: bool = False
    ) -> Future[Any]:
        assert not track.busy
        track.steps += 1
        future: Future[Any] = Future()
        if frame[0, 0, 2] == 250:
            future.set_exception(FloatingPointError("NaN"))
        else:
            future.set_result(self._output(frame, track.steps))
        return future

    def _output(self, frame: np.ndarray, steps: int) -> SimpleNamespace:
        self.colours.append(tuple(int(value) for value in frame[0, 0]))
        probability = np.zeros((127, 127), np.float32)
        probability[20:80, 30:90] = np.tri(60, 60, 15) - np.tri(60, 60, -15)
        return SimpleNamespace(
            score=0.25,
            presence=0.125 * (steps + 1),
            box=np.array([int(frame[0, 0, 2]), steps, 1, 1]),
            mask_probability=probability,
            window=(-10.0, -5.0, 60.0, 60.0),
            threshold=0.5,
            is_searched=False,
        )


def _opened(start: int, end: int) -> Opened:
    return Opened(0, VideoInfo(64, 48, 0, False, 10.0, "exact", 100, "h264", "decord"), start, end)


def _chunk(indexes: list[int]) -> Chunk:
    frames = np.zeros((len(indexes), 48, 64, 3), np.uint8)
    frames[..., 0] = np.array(indexes)[:, None, None]  # red: RGB as the decoder hands it out
    return Chunk(0, frames, np.array(indexes), np.array(indexes) / 10, 0)


def _track(objects: list[ObjectStart], frames: list[list[int]], **kwargs: Any) -> list[MaskRow]:
    first, last = frames[0][0], frames[-1][-1]
    clip = Clip("c", "v.mp4", "/v.mp4", objects=tuple(objects))
    tracker = ClipTracker(clip, _opened(first, last + 1), FakeEngine(), **kwargs)
    rows = [row for indexes in frames for row in tracker.chunk(_chunk(indexes))]
    return [*rows, *tracker.flush()]


def _box(x: float = 1) -> tuple[float, float, float, float]:
    return (x, 2, 10, 10)


def test_every_frame_has_a_row_and_the_first_is_the_box_given() -> None:
    rows = _track([ObjectStart("a", box=_box())], [[5, 6], [7]])
    assert [row.frame_index for row in rows] == [5, 6, 7]
    assert [row.pts_s for row in rows] == [0.5, 0.6, 0.7]
    assert [row.score for row in rows] == [1.0, 0.25, 0.25]
    assert [(row.presence, row.state) for row in rows] == [(1.0, "tracked"), (0.25, "tracked"), (0.375, "tracked")]
    assert list(rows[0].bbox) == [1, 2, 10, 10]
    assert [row.bbox[0] for row in rows[1:]] == [6, 7]  # each step saw its own frame, as BGR
    assert rows[0].rle["size"] == [48, 64]
    assert coco.area({**rows[2].rle, "counts": rows[2].rle["counts"].encode()}) == rows[2].area > 0


def test_later_starts_ends_and_key_frames() -> None:
    objects = [
        ObjectStart("a", box=_box()),
        ObjectStart("a", init_frame=3, box=_box(20)),
        ObjectStart("b", init_frame=1, end_frame=3, box=_box(9)),
    ]
    rows = _track(objects, [[0, 1, 2, 3, 4]])
    seen = {name: [row.frame_index for row in rows if row.object_id == name] for name in "ab"}
    assert seen == {"a": [0, 1, 2, 3, 4], "b": [1, 2]}
    anew = next(row for row in rows if row.object_id == "a" and row.frame_index == 3)
    assert (anew.score, anew.bbox[0]) == (1.0, 20)
    after = next(row for row in rows if row.object_id == "a" and row.frame_index == 4)
    assert after.bbox[1] == 1  # the first step of a new track


def test_stride_and_missing_frames_keep_the_source_index() -> None:
    rows = _track([ObjectStart("a", box=_box())], [[10, 12, 16]], stride=2)
    assert [row.frame_index for row in rows] == [10, 12, 16]


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (ObjectStart("a", init_frame=9, box=_box()), "InitFrameOutsideClip"),
        (ObjectStart("a", init_frame=1, box=_box()), "InitFrameOffStride"),
        (ObjectStart("a", box=(64, 0, 5, 5)), "ObjectOutsideFrame"),
        (ObjectStart("a", box=(-5, 0, 5, 5)), "ObjectOutsideFrame"),
        (ObjectStart("a", box=(0, 48, 5, 5)), "ObjectOutsideFrame"),
        (ObjectStart("a", polygon=(0,) * 8), "UnusableInit"),
        (ObjectStart("a", mask={"size": [48, 50], "counts": "0"}), "UnusableInit"),
        (ObjectStart("a", init_frame=4, end_frame=4, box=_box()), "InitFrameOutsideClip"),
    ],
)
def test_what_cannot_start_is_named(start: ObjectStart, kind: str) -> None:
    with pytest.raises(TrackError, match="'a'") as caught:
        _track([start], [[0, 2, 4, 6]], stride=2)
    assert (caught.value.stage, caught.value.error_type) == ("init", kind)


@pytest.mark.parametrize("frames", [[[0, 1, 3]], [[0, 1]]])
def test_an_init_frame_that_was_not_decoded_fails_the_clip(frames: list[list[int]]) -> None:
    clip = Clip("c", "v.mp4", "/v.mp4", objects=(ObjectStart("a", init_frame=2, box=_box()),))
    tracker = ClipTracker(clip, _opened(0, 4), FakeEngine())
    with pytest.raises(TrackError, match="init_frame 2") as caught:
        for indexes in frames:
            list(tracker.chunk(_chunk(indexes)))
        list(tracker.flush())
    assert caught.value.error_type == "InitFrameNotDecoded"


def test_a_step_that_fails_names_object_and_frame() -> None:
    with pytest.raises(TrackError, match="'a', frame 250: NaN") as caught:
        _track([ObjectStart("a", box=_box())], [[249, 250]])
    assert (caught.value.stage, caught.value.error_type) == ("track", "FloatingPointError")


def test_an_object_starts_once_on_a_frame() -> None:
    starts = [ObjectStart("a", box=_box()), ObjectStart("a", init_frame=5, box=_box())]  # 5 is the clip's first
    with pytest.raises(TrackError, match="'a': it starts twice on frame 5"):
        _track(starts, [[5, 6]])


def test_a_mask_that_makes_no_row_names_object_and_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    def finish(*_: object) -> None:
        raise ArithmeticError("no box")

    monkeypatch.setattr(finished, "finish", finish)
    with pytest.raises(TrackError, match="'a', frame 0: no box") as caught:
        _track([ObjectStart("a", box=_box())], [[0, 1]])
    assert (caught.value.stage, caught.value.error_type) == ("track", "ArithmeticError")


def test_a_clip_that_ends_early_keeps_its_last_frame() -> None:
    objects = (ObjectStart("a", box=_box()), ObjectStart("b", init_frame=3, box=_box()))
    tracker = ClipTracker(Clip("c", "v", "/v", objects=objects), _opened(0, 4), FakeEngine())
    rows = [*tracker.chunk(_chunk([0, 1])), *tracker.abandon()]
    assert [row.frame_index for row in rows] == [0, 1]


def test_an_object_starts_from_box_polygon_or_mask() -> None:
    pixels = np.zeros((48, 64), np.uint8, order="F")
    pixels[10:20, 30:50] = 1
    rle = coco.encode(pixels)
    objects = [
        ObjectStart("box", box=(1, 2, 3, 4)),
        ObjectStart("mask", mask={"size": [48, 64], "counts": rle["counts"].decode()}),
        ObjectStart("polygon", polygon=(10, 10, 30, 10, 30, 20, 10, 20)),
    ]
    box, mask, polygon = _track(objects, [[0]])
    assert box.bbox.tolist() == [1, 2, 3, 4]
    assert mask.bbox.tolist() == [30, 10, 20, 10]
    assert polygon.bbox.tolist() == pytest.approx([10, 10, 20, 10])


def test_the_rule_makes_the_rotated_box() -> None:
    boxes = {rule: _track([ObjectStart("a", box=_box())], [[0]], rule=rule)[0].corners for rule in ("mbr", "minmax")}
    assert boxes["mbr"].tolist() != boxes["minmax"].tolist()
