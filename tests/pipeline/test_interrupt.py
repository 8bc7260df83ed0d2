"""Signals become one exception, also after another library has put handlers of its own in place."""

from __future__ import annotations

import os
import signal
import sys

import pytest

from pipeline.interrupt import Interrupted, interruptible, take_signals_again


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_an_exception_also_after_ray_has_taken_it(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match=number.name), interruptible():
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(number))  # as ray.init does
        take_signals_again()
        try:
            os.kill(os.getpid(), number)
        finally:
            take_signals_again()
            assert signal.getsignal(number) is signal.SIG_IGN  # the clean-up is not cut short
    assert signal.getsignal(number) is before


def test_elsewhere_nothing_changes() -> None:
    before = signal.getsignal(signal.SIGTERM)
    take_signals_again()
    assert signal.getsignal(signal.SIGTERM) is before
