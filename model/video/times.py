"""Times that increase, out of timestamps that are missing, repeat, or go back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Timing = Literal["exact", "repaired", "counted"]
"""Where the times of a video come from: its timestamps, those with some of them mended, or index over rate."""


@dataclass(frozen=True, slots=True)
class Times:
    """The times of a video's frames: int64 [frames], strictly increasing, in units of `tick` seconds."""

    ticks: NDArray[np.int64]
    tick: Fraction
    timing: Timing

    def seconds(self, index: NDArray[np.int64]) -> NDArray[np.float64]:
        """float64: times of frames by index, in seconds after the first frame, correctly rounded."""
        ticks = (self.ticks[index] - self.ticks[0]) * self.tick.numerator
        return np.asarray(ticks / self.tick.denominator, dtype=np.float64)


def times_of(stamps: Sequence[int | None], tick: Fraction, rate: Fraction) -> Times:
    """The times of frames with these timestamps, in the order in which they are shown.

    Args:
        stamps: at least one, in units of `tick` seconds; None where a frame has none.
        rate: frames a second, for what the stamps do not say.
    """
    if len({stamp for stamp in stamps if stamp is not None}) * 2 < len(stamps):
        return Times(np.arange(len(stamps), dtype=np.int64), 1 / rate, "counted")
    ticks = mended(stamps, max(1, round(1 / (rate * tick))))
    exact = all(stamp == time for stamp, time in zip(stamps, ticks.tolist(), strict=True))
    return Times(ticks, tick, "exact" if exact else "repaired")


def mended(stamps: Sequence[int | None], step: int) -> NDArray[np.int64]:
    """Change as few stamps as possible, so that they increase; int64 [n].

    A missing stamp becomes a step after the one before. One that repeats the one before or goes back alone becomes a
    tick after the one before, and one that is too late alone goes before the next. Where those that follow went back
    too (a recording that was started again, a second file appended), all of them are moved to go on a step after it.
    """
    known = [stamp for stamp in stamps if stamp is not None]
    to_come = iter([*known[1:], None])
    first = next((position for position, stamp in enumerate(stamps) if stamp is not None), 0)
    last = (known[0] if known else 0) - (first + 1) * step
    before: int | None = None
    times, moved = list[int](), 0
    for stamp in stamps:
        if stamp is None:
            last += step
        else:
            after = next(to_come)
            time = stamp + moved
            if time <= last and stamp != before and after is not None and after + moved <= last:
                moved += last + step - time
                time = last + step
            elif time <= last:
                time = last + 1
            elif after is not None and last + 1 < after + moved < time and time > last + step:
                time = min(last + step, after + moved - 1)
            last, before = time, stamp
        times.append(last)
    return np.array(times, dtype=np.int64)
