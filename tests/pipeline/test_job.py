"""Signals become one exception, also after another library has put handlers of its own in place."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import time

import pytest

from pipeline.errors import UsageError
from pipeline.job import (
    FAILED,
    INTERRUPTED,
    STRICT_FAILED,
    interruptible,
    run_job,
    signal_name,
    take_signals_again,
)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_an_exception_also_after_ray_has_taken_it(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt, match=number.name), interruptible():
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(number))  # as ray.init does
        take_signals_again()
        try:
            os.kill(os.getpid(), number)
        finally:
            take_signals_again()
            assert signal.getsignal(number) is signal.SIG_IGN  # the clean-up is not cut short
    assert signal.getsignal(number) is before
    assert signal_name() == number.name


@pytest.mark.timeout(60)
def test_a_signal_that_meets_a_call_of_ray_is_the_same_exception(ray_local: None) -> None:
    import ray

    @ray.remote
    def sleep() -> None:
        time.sleep(300)

    asleep = sleep.remote()
    for call in (lambda: ray.get(asleep), lambda: ray.wait([asleep])):
        threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
        with pytest.raises(KeyboardInterrupt), interruptible():
            call()
        assert signal_name() == "SIGTERM"
    ray.cancel(asleep, force=True)


def test_elsewhere_nothing_changes() -> None:
    before = signal.getsignal(signal.SIGTERM)
    take_signals_again()
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_job_ends_with_the_status_of_its_work() -> None:
    assert run_job(lambda: STRICT_FAILED, interrupted="") == 3


def test_a_signal_ends_a_job_with_130_and_a_word_on_what_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)
        return 0

    assert run_job(work, interrupted="interrupted by {signal}: run it again") == INTERRUPTED == 130
    assert capsys.readouterr().err == "interrupted by SIGTERM: run it again\n"


@pytest.mark.parametrize(
    ("error", "sentence"),
    [(OSError("the disk is full\nmore"), "error: the disk is full\n"), (OSError(), "error: OSError\n")],
)
def test_an_expected_error_is_one_sentence_and_status_1(
    capsys: pytest.CaptureFixture[str], error: Exception, sentence: str
) -> None:
    def work() -> int:
        raise error

    assert run_job(work, interrupted="", expected=(OSError,)) == FAILED == 1
    assert capsys.readouterr().err == sentence
    with pytest.raises(OSError):
        run_job(work, interrupted="", expected=(KeyError,))


def test_no_place_for_temporary_files_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/nowhere/at/all"])
    with pytest.raises(UsageError, match="set TMPDIR"):
        run_job(lambda: 0, interrupted="")
