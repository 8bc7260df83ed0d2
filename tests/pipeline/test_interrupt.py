"""Signals become one exception, also after another library has put handlers of its own in place."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import pytest

from pipeline.interrupt import interruptible, signal_name, take_signals_again


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
