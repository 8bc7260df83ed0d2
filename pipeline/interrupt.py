"""Ctrl-C and SIGTERM as one exception in the main thread."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """The job was asked to end: by Ctrl-C, by SIGTERM, or by `ray job stop`, which sends one."""


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Inside the block, the first SIGINT or SIGTERM raises `Interrupted`; further ones are ignored, so that the
    clean-up is not cut short. Outside of the main thread nothing changes."""
    try:
        before = {each: signal.signal(each, _interrupt) for each in _SIGNALS}
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def take_signals_again() -> None:
    """Inside `interruptible`, undo what others did to the signals: `ray.init` makes SIGTERM end the process.

    Elsewhere, and once a signal has come, nothing changes.
    """
    if any(signal.getsignal(each) is _interrupt for each in _SIGNALS):
        for each in _SIGNALS:
            signal.signal(each, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise Interrupted(signal.Signals(number).name)
