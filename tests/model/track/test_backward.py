"""Results of a backward pass wait, and meet those of the forward pass on their frames."""

from __future__ import annotations

import tracemalloc
from dataclasses import dataclass

import pytest

from model.track import backward
from model.track.backward import BackwardResults


@dataclass(frozen=True)
class Result:
    presence: float
    source: str = "backward"
    mask: bytes = b""


@pytest.mark.parametrize("in_memory", [1 << 20, 1])
def test_results_come_back_on_their_frames(monkeypatch: pytest.MonkeyPatch, in_memory: int) -> None:
    monkeypatch.setattr(backward, "IN_MEMORY_BYTES", in_memory)
    results: BackwardResults[Result] = BackwardResults()
    for frame in (9, 7, 6, 2):
        results.push(frame, {"b": Result(frame / 10), "a": Result(0.5)} if frame != 7 else {})
    assert results.merged(1, {}) == {}
    # Frame 2 was not decoded this time, 4 not the last time.
    assert results.merged(4, {"b": Result(0.1)}) == {"b": Result(0.1)}
    merged = results.merged(6, {"c": Result(0.1)})
    assert merged == {"a": Result(0.5), "b": Result(0.6), "c": Result(0.1)} and list(merged) == ["a", "b", "c"]
    assert results.merged(7, {}) == {}
    assert results.merged(9, {}) == {"a": Result(0.5), "b": Result(0.9)}
    assert results.merged(10, {"a": Result(0.2)}) == {"a": Result(0.2)}


def test_the_surer_of_two_is_taken_and_the_forward_one_where_both_are_as_sure() -> None:
    results: BackwardResults[Result] = BackwardResults()
    results.push(3, {"less": Result(0.4), "as": Result(0.5), "more": Result(0.6)})
    forward = {name: Result(0.5, "forward") for name in ("less", "as", "more")}
    merged = results.merged(3, forward)
    assert {name: result.source for name, result in merged.items()} == {
        "as": "forward", "less": "forward", "more": "backward"
    }  # fmt: skip


def test_memory_does_not_grow_with_the_frames() -> None:
    def peak(frames: int) -> int:
        tracemalloc.start()
        results: BackwardResults[Result] = BackwardResults()
        for frame in reversed(range(frames)):
            results.push(frame, {"a": Result(0.5, mask=bytes(2000))})
        for frame in range(frames):
            assert results.merged(frame, {})["a"].presence == 0.5
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    assert peak(6000) < 1.2 * peak(1500), "1,500 frames are more than is kept in memory"
