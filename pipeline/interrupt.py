"""Ctrl-C and SIGTERM as one exception in the main thread."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType


class Interrupted(BaseException):
    """The job was asked to end: by Ctrl-C, by SIGTERM, or by `ray job stop`, which sends one."""


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Inside the block, the first SIGINT or SIGTERM raises `Interrupted`; further ones are ignored, so that the
    clean-up is not cut short. Outside of the main thread nothing changes."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
        raise Interrupted(signal.Signals(number).name)

    try:
        before = {each: signal.signal(each, interrupt) for each in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
