"""What a person sees of a run's progress."""

import io

import pytest

from pipeline.progress import display as progress
from pipeline.progress.counts import Counts
from pipeline.progress.display import ProgressDisplay, describe
from pipeline.progress.tally import Tally


def test_a_log_gets_a_line_now_and_then_and_one_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    log = io.StringIO()
    with ProgressDisplay(10, log) as display:
        for second in range(12):
            now[0] = 100.0 + second
            display.update(Counts(ok=second // 2, failed=1, frames=second * 30, track_frames=second * 60))
        display.update(Counts(ok=9, failed=1, frames=400, track_frames=800), last=True)
    lines = log.getvalue().splitlines()
    assert len(lines) == 3  # at 5 s, at 10 s, at the end
    assert lines[0] == "3/10 clips, 1 failed, 30.0 frames/s, 60.0 track-frames/s, ETA 0:00:12"
    assert lines[-1].startswith("10/10 clips, 1 failed")


def test_nothing_done_yet_promises_nothing() -> None:
    assert describe(Counts(), 5, 3.0).endswith("ETA unknown")


def test_a_clip_counts_for_good_once_it_is_committed() -> None:
    tally = Tally()
    tally.add(busy_s=1.5)
    tally.add_to("a", frames=10, track_frames=20)
    tally.add_to("b", frames=5)
    tally.add_to("a", ok=1)
    assert tally.ended("ab") == ["a"]
    assert tally.drain() == (Counts(busy_s=1.5), Counts(ok=1, frames=15, track_frames=20))
    tally.commit(["a"])
    tally.drop(["b"])  # its worker died: it starts over
    tally.add_to("b", frames=2)
    assert tally.drain() == (Counts(ok=1, frames=10, track_frames=20), Counts(frames=2))
    assert tally.drain() == (Counts(), Counts(frames=2))
