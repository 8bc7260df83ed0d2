"""Ctrl-C and SIGTERM as one exception in the main thread: `KeyboardInterrupt`.

Ray knows no other: out of a call of its own that a signal meets, it raises a new one of that type, and makes a
`SystemError` of anything else (`check_signals` in its `_raylet.pyx`). So the signal's name is kept beside it.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_received = signal.SIGINT


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Inside the block, the first SIGINT or SIGTERM (`ray job stop` sends one) raises `KeyboardInterrupt`; further
    ones are ignored, so that the clean-up is not cut short. Outside of the main thread nothing changes."""
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


def signal_name() -> str:
    """The signal that the last `KeyboardInterrupt` came of."""
    return _received.name


def take_signals_again() -> None:
    """Inside `interruptible`, undo what others did to the signals: `ray.init` makes SIGTERM end the process.

    Elsewhere, and once a signal has come, nothing changes.
    """
    if any(signal.getsignal(each) is _interrupt for each in _SIGNALS):
        for each in _SIGNALS:
            signal.signal(each, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    global _received
    _received = signal.Signals(number)
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt(_received.name)
