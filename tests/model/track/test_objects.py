"""Where the objects of a clip start, start anew and end; no engine and no frames."""

from __future__ import annotations

import itertools
import pickle
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.track.objects import ClipFrames, Lifetimes, TrackError, backward_spans_of, spans_of
from model.track.start_box import StartBox

BOX = (1.0, 2.0, 10.0, 10.0)
OUTSIDE = "ObjectOutsideFrame"
FRAMES = ClipFrames(4, 12, height=48, width=64, stride=2)


@pytest.mark.parametrize(
    ("start", "error_type", "message"),
    [
        (StartBox("a", BOX, 12), "InitFrameOutsideClip", "init_frame 12 lies outside of the clip's frames 4 to 11"),
        (StartBox("a", BOX, 3), "InitFrameOutsideClip", "init_frame 3 lies outside of the clip's frames 4 to 11"),
        (StartBox("a", BOX, 5), "InitFrameOffStride", "init_frame 5 is not a multiple of the stride 2 after frame 4"),
        (StartBox("a", BOX, 6, 6), "InitFrameOutsideClip", "its end_frame 6 is not after its init_frame 6"),
        (StartBox("a", (64, 0, 5, 5)), OUTSIDE, "its box x=64 y=0 w=5 h=5 lies outside of the 64x48 frame"),
        (StartBox("a", (0, 48, 5, 5)), OUTSIDE, "its box x=0 y=48 w=5 h=5 lies outside of the 64x48 frame"),
        (
            StartBox("a", (0.2, 0.3, 0.1, 0.25)),
            "UnusableInit",
            "its box x=0.2 y=0.3 w=0.1 h=0.25 is no larger than a pixel: give pixels of the 64x48 frame, not "
            "fractions of it (0 to 1)",
        ),
        (
            StartBox("a", (0, 0, 1, 1)),
            "UnusableInit",
            "its box x=0 y=0 w=1 h=1 is no larger than a pixel: give pixels of the 64x48 frame, not fractions of it "
            "(0 to 1)",
        ),
        (
            StartBox("a", (9, 9, 0.1, 0.2)),
            "UnusableInit",
            "its box x=9 y=9 w=0.1 h=0.2 is no larger than a pixel",
        ),
    ],
)
def test_a_start_that_cannot_be_is_named(start: StartBox, error_type: str, message: str) -> None:
    with pytest.raises(TrackError) as caught:
        spans_of([start], FRAMES)
    error = pickle.loads(pickle.dumps(caught.value))  # as Ray passes it on
    assert (error.stage, error.error_type, error.object_id) == ("init", error_type, "a")
    assert error.message == str(error) == f"object 'a': {message}"


def test_an_object_starts_once_on_a_frame() -> None:
    with pytest.raises(TrackError, match="object 'a': it starts twice on frame 4") as caught:
        spans_of([StartBox("a", BOX), StartBox("b", BOX), StartBox("a", BOX, 4)], FRAMES)
    assert caught.value.error_type == "UnusableInit"


def test_an_init_frame_that_was_left_out_is_named() -> None:
    for decoded in ([4, 8], [4]):
        lifetimes = Lifetimes(spans_of([StartBox("a", BOX, 6)], FRAMES))
        with pytest.raises(TrackError, match="object 'a': its init_frame 6 could not be decoded") as caught:
            for frame in decoded:
                lifetimes.advance(frame)
            lifetimes.finish()
        assert caught.value.error_type == "InitFrameNotDecoded"


STARTS = st.tuples(st.sampled_from("abc"), st.integers(0, 9), st.integers(1, 12) | st.none())


@given(st.lists(STARTS, unique_by=lambda start: start[:2]))
def test_an_object_is_tracked_from_its_latest_start_to_that_ones_end(starts: list[tuple[str, int, int | None]]) -> None:
    starts = [(name, frame, None if end is None else frame + end) for name, frame, end in starts]
    lifetimes = Lifetimes(spans_of([StartBox(n, BOX, f, e) for n, f, e in starts], ClipFrames(0, 10, 48, 64)))
    for frame in range(10):
        wanted = {}
        for name, begin, end in sorted(starts, key=lambda start: start[1]):
            if begin <= frame:
                wanted[name] = (begin, 10 if end is None else end)
        tracked = [(span.object_id, span.frame) for span in lifetimes.advance(frame)]
        assert tracked == sorted((name, begin) for name, (begin, end) in wanted.items() if frame < end)
    lifetimes.finish()


@given(st.lists(STARTS, unique_by=lambda start: start[:2]))
def test_backward_is_forward_in_a_mirror(starts: list[tuple[str, int, int | None]]) -> None:
    frames = ClipFrames(0, 10, 48, 64)
    forward = Lifetimes(spans_of([StartBox(name, BOX, 9 - frame) for name, frame, _ in starts], frames))
    boxes = [StartBox(name, BOX, frame, None, "backward") for name, frame, _ in starts]
    backward = Lifetimes(backward_spans_of(boxes, frames), backward=True)
    for frame in range(10):
        wanted = [(span.object_id, 9 - span.frame) for span in forward.advance(frame)]
        assert [(span.object_id, span.frame) for span in backward.advance(9 - frame)] == wanted
    backward.finish()
    assert not spans_of(boxes, frames)


def _tracked(starts: list[StartBox], frames: ClipFrames) -> tuple[list[int], list[int]]:
    """The frames on which the one object is tracked forward, and backward."""
    forward, backward = (
        Lifetimes(spans_of(starts, frames)), Lifetimes(backward_spans_of(starts, frames), backward=True)
    )  # fmt: skip
    grid = range(frames.first, frames.end, frames.stride)
    ahead = [frame for frame in grid if forward.advance(frame)]
    return ahead, [frame for frame in reversed(grid) if backward.advance(frame)]


@pytest.mark.parametrize(
    ("starts", "forward", "backward"),
    [
        ([(8, None, "both")], [8, 10], [8, 6, 4]),
        ([(8, None, "backward")], [], [8, 6, 4]),
        ([(4, None, "both")], [4, 6, 8, 10], []),
        ([(4, None, "backward")], [], [4]),
        ([(4, None, "both"), (10, None, "both")], [4, 6, 8, 10], [10, 8, 6]),
        ([(4, None, "both"), (6, None, "both")], [4, 6, 8, 10], []),
        ([(6, None, "backward"), (10, None, "forward")], [10], [6, 4]),
        ([(4, None, "forward"), (8, None, "backward")], [4, 6], [8, 6]),
        ([(6, 8, "both"), (10, None, "both")], [6, 10], [6, 4]),
        ([(6, 8, "both"), (10, None, "backward")], [6], [10, 6, 4]),
        ([(6, 10, "both"), (10, None, "both")], [6, 8, 10], [10, 8, 6, 4]),
    ],
)
def test_where_the_tracks_of_an_object_end(
    starts: list[tuple[int, int | None, str]], forward: list[int], backward: list[int]
) -> None:
    boxes = [StartBox("a", BOX, *start) for start in starts]
    assert _tracked(boxes, FRAMES) == (forward, backward)
    assert _tracked(boxes[::-1], FRAMES) == (forward, backward)


def test_an_init_frame_that_was_left_out_backward_is_named() -> None:
    for decoded in ([8, 4], [10]):
        lifetimes = Lifetimes(backward_spans_of([StartBox("a", BOX, 6, None, "both")], FRAMES), backward=True)
        with pytest.raises(TrackError, match="object 'a': its init_frame 6 could not be decoded"):
            for frame in decoded:
                lifetimes.advance(frame)
            lifetimes.finish()


def test_neither_module_imports_torch() -> None:
    program = "import sys, model.track.object_tracker; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_order_of_starts_does_not_matter() -> None:
    starts = [StartBox("a", BOX), StartBox("b", BOX, 6, 10), StartBox("a", (5, 5, 5, 5), 8)]
    runs = []
    for order in itertools.permutations(starts):
        lifetimes = Lifetimes(spans_of(order, FRAMES))
        runs.append([[(s.object_id, s.frame) for s in lifetimes.advance(frame)] for frame in (4, 6, 8, 10)])
    assert all(run == runs[0] for run in runs)
    assert runs[0] == [[("a", 4)], [("a", 4), ("b", 6)], [("a", 8), ("b", 6)], [("a", 8)]]
