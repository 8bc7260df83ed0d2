"""The shell of every job: its log, its signals, its exit status, and errors of one sentence.

Ctrl-C and SIGTERM become one exception in the main thread: `KeyboardInterrupt`. Ray knows no other: out of a call of
its own that a signal meets, it raises a new one of that type, and makes a `SystemError` of anything else
(`check_signals` in its `_raylet.pyx`). So the signal's name is kept beside it.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from types import FrameType

from pipeline.disk import is_full
from pipeline.errors import UsageError

FINISHED, FAILED, USAGE, STRICT_FAILED, INTERRUPTED = 0, 1, 2, 3, 130
LOG_FORMAT = "%(levelname)s %(message)s"

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_received = signal.SIGINT


def run_job(
    work: Callable[[], int],
    *,
    interrupted: str,
    expected: tuple[type[Exception], ...] = (),
    log_level: int = logging.INFO,
    log_format: str = LOG_FORMAT,
) -> int:
    """Do the work of a job; returns its exit status.

    Args:
        work: returns the exit status where it comes to its end.
        interrupted: what is said where a signal ended it (exit status 130), with `{signal}` for the signal's name.
        expected: errors that end the job with exit status 1 and one sentence. Any other error is raised, among them
            `pipeline.errors.UsageError`.
        log_level, log_format: of the log on standard error.

    Raises:
        UsageError: there is no place for temporary files.
    """
    try:
        tempfile.gettempdir()
    except FileNotFoundError as error:
        raise UsageError(
            "no folder for temporary files can be written: set TMPDIR to one that can, and has space on its disk"
        ) from error
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_is_alone)
    logging.basicConfig(level=log_level, format=log_format, handlers=[handler])
    logging.getLogger("botocore").setLevel(logging.WARNING)  # on INFO it says where it found credentials
    with interruptible():
        try:
            return work()
        except KeyboardInterrupt:
            print(interrupted.format(signal=signal_name()), file=sys.stderr, flush=True)
            return INTERRUPTED
        except expected as error:
            print_error(error)
            return FAILED
        except OSError as error:
            if not is_full(error):
                raise
            print_error(f"the disk is full: {error}: free space there and run the same command again")
            return FAILED


def _is_alone(record: logging.LogRecord) -> bool:
    """Whether no other handler prints the record: Ray adds one of its own where logs are to be JSON."""
    return len([handler for handler in logging.getLogger().handlers if type(handler) is logging.StreamHandler]) == 1


def print_error(error: object) -> None:
    """One sentence on why the job failed: the first line of the error, or its type where it says nothing."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    print(f"error: {lines[0]}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Inside the block, the first SIGINT or SIGTERM (`ray job stop` sends one) raises `KeyboardInterrupt`; further
    ones are ignored, so that the clean-up is not cut short. Outside of the main thread nothing changes."""
    try:
        before = {number: signal.signal(number, _interrupt) for number in _SIGNALS}
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def signal_name() -> str:
    """The signal that the last `KeyboardInterrupt` came of."""
    return _received.name


def take_signals_again() -> None:
    """Inside `interruptible`, undo what others did to the signals: `ray.init` makes SIGTERM end the process.

    Elsewhere, and once a signal has come, nothing changes.
    """
    if any(signal.getsignal(number) is _interrupt for number in _SIGNALS):
        for number in _SIGNALS:
            signal.signal(number, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    global _received
    _received = signal.Signals(number)
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt(_received.name)
