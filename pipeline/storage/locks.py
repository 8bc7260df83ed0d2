"""Locks on files of this machine. The kernel gives up the locks of a process that dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


def open_lock(path: str | Path, mode: int = 0o600) -> int:
    """A descriptor of a lock file, which is made with `mode` where it is not there; to close it gives up its locks."""
    return os.open(path, os.O_RDWR | os.O_CREAT, mode)


@contextlib.contextmanager
def locked(path: str | Path, mode: int = 0o600) -> Iterator[None]:
    """Only one process of this machine at a time is inside the block, for each lock file; the others wait."""
    lock = open_lock(path, mode)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def lock_at_once(lock: int) -> bool:
    """Lock an open file for this process alone; False where another process holds it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_current(path: Path, lock: int) -> bool:
    """Whether the locked file is the one that has the name now, not one removed meanwhile."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(lock))
    except FileNotFoundError:
        return False
