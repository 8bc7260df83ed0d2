"""Free space on this machine's disks."""

from __future__ import annotations

import errno
import os
import shutil

from pipeline.errors import UsageError

LEAST_BYTES = 64 << 20
"""A job starts with so much at least in each folder that it writes to: its first logs, plan and rows go there."""


def free_bytes(folder: str) -> float:
    """The free space of the disk that a folder, which need not be there yet, is or will be on.

    Infinite where the file system does not tell.
    """
    folder = os.path.abspath(folder)
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return float("inf")
    return usage.free if usage.total else float("inf")


def require_space(folder: str, whose: str, cure: str) -> None:
    """Check that a folder's disk has `LEAST_BYTES` free.

    Args:
        whose: the subject of the sentence ("a local Ray").
        cure: what to do beside freeing space.

    Raises:
        UsageError: it has less.
    """
    free = free_bytes(folder)
    if free < LEAST_BYTES:
        raise UsageError(
            f"{whose} has no space in {folder}: {free / 1e6:.0f} MB are free, and {LEAST_BYTES / 1e6:.0f} MB are needed"
            f": free space there, or {cure}"
        )


def is_full(error: BaseException) -> bool:
    """Whether an error says that a disk or a quota is full."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
