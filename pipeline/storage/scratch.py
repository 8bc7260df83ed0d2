"""Local folders that belong to a process, and go with it however it ends.

Each has a lock file beside it, locked for as long as the folder is used. The kernel gives up the locks of a process
that dies, so whoever makes the next folder finds what a killed process left unlocked, and removes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from pipeline.storage.locks import is_current, lock_at_once, open_lock


def default_parent() -> Path:
    """Where the folders lie: one place per user, in the temporary folder."""
    return Path(tempfile.gettempdir()) / f"siammask-scratch-{os.getuid()}"


@contextlib.contextmanager
def scratch_folder(parent: Path | None = None) -> Iterator[Path]:
    """An empty folder, removed at the end of the block or, where the process is killed, by the next to ask for one.

    Raises:
        OSError: the folder cannot be made.
    """
    parent = parent or default_parent()
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    sweep(parent)
    folder = parent / uuid.uuid4().hex
    lock = _locked(_marker(folder))
    try:
        folder.mkdir(mode=0o700)
        yield folder
    finally:
        _remove(folder, lock)


def sweep(parent: Path) -> int:
    """Remove the folders that no living process uses; returns how many."""
    removed = 0
    for marker in parent.glob("*.lock"):
        with contextlib.suppress(OSError):
            lock = os.open(marker, os.O_RDWR)
            if lock_at_once(lock):
                _remove(marker.with_suffix(""), lock)
                removed += 1
            else:
                os.close(lock)
    return removed


def _marker(folder: Path) -> Path:
    return folder.with_suffix(".lock")


def _locked(marker: Path) -> int:
    """A new lock file, locked; a sweep that was quicker has removed it again."""
    while True:
        lock = open_lock(marker)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if is_current(marker, lock):
            return lock
        os.close(lock)


def _remove(folder: Path, lock: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        os.unlink(_marker(folder))
    os.close(lock)
