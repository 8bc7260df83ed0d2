"""Times out of timestamps that are missing, repeat or go back: as few are changed as possible."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.video.times import mended, times_of


@pytest.mark.parametrize(
    ("stamps", "times"),
    [
        ([0, 40, 80, 200], [0, 40, 80, 200]),
        ([0, 40, 40, 120], [0, 40, 41, 120]),
        ([0, 40, 40, 40, 120], [0, 40, 41, 42, 120]),
        ([0, 40, None, 120, None], [0, 40, 80, 120, 160]),
        ([None, None, 80, 120], [0, 40, 80, 120]),
        ([0, 40, 20, 120, 160], [0, 40, 41, 120, 160]),
        ([0, 40, 9000, 120, 160], [0, 40, 80, 120, 160]),
        ([800, 840, 880, 0, 40, 80], [800, 840, 880, 920, 960, 1000]),
        ([0, 40, 80, 120, 40, 80, 120], [0, 40, 80, 120, 160, 200, 240]),
        ([800, 840, 0, None, 80, 500], [800, 840, 880, 920, 960, 1380]),
        ([5], [5]),
    ],
)
def test_what_is_mended_and_what_stays(stamps: list[int | None], times: list[int]) -> None:
    assert mended(stamps, 40).tolist() == times


@given(st.lists(st.none() | st.integers(-1000, 100_000), min_size=1), st.integers(1, 5000))
def test_times_increase_whatever_the_stamps(stamps: list[int | None], step: int) -> None:
    times = mended(stamps, step)
    assert len(times) == len(stamps) and np.all(np.diff(times) > 0)


@given(st.lists(st.integers(-1000, 100_000), min_size=1, unique=True))
def test_stamps_that_increase_stay(stamps: list[int]) -> None:
    times = times_of(sorted(stamps), Fraction(1, 1000), Fraction(25))
    assert times.ticks.tolist() == sorted(stamps) and times.timing == "exact"


def test_timing_says_what_was_done() -> None:
    tick, rate = Fraction(1, 1000), Fraction(25)
    repaired = times_of([0, 40, 40, 120], tick, rate)
    assert repaired.timing == "repaired"
    assert repaired.seconds(np.arange(4)).tolist() == [0.0, 0.04, 0.041, 0.12]
    for stamps in ([None, None, None], [0, 0, 0, 0, 7]):
        counted = times_of(stamps, tick, rate)
        assert counted.timing == "counted"
        assert counted.seconds(np.arange(3)).tolist() == [0.0, 0.04, 0.08]
