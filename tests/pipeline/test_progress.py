"""What a person sees of a run's progress."""

import io

import pytest

from pipeline import progress
from pipeline.progress import ControlRoom, Counts, ProgressDisplay, Tally, describe


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


def test_reports_add_up_and_carry_the_wish_to_stop() -> None:
    room, tally = ControlRoom(), Tally()
    tally.add(ok=2, track_frames=40)
    tally.add(failed=1)
    assert room.report(tally.drain()) is False
    assert tally.drain() == Counts()
    room.stop()
    assert room.report(Counts(ok=1)) is True
    assert room.counts() == Counts(ok=3, failed=1, track_frames=40)
