"""The folder of a node for what training copies and decodes: shared by all runs, used again by later ones.

What is made is made in a folder of its own process (`scratch`) and gets its name when it is whole, so that nobody
sees a part of it, and what a killed process left there is removed by the next one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from pipeline.storage.scratch import scratch_folder


def default_cache() -> Path:
    """Where a node keeps sets and stores: below TMPDIR."""
    return Path(tempfile.gettempdir()) / "siammask-training"


def scratch(cache: Path) -> contextlib.AbstractContextManager[Path]:
    """An empty folder in the cache that goes with its process, however it ends (see `pipeline.storage.scratch`)."""
    return scratch_folder(cache / "scratch")


def digest(*parts: object) -> str:
    """A name for what these parts, values that JSON knows, say."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


def publish(made: Path, folder: Path) -> None:
    """Give a finished folder its name, unless another process was quicker, whose folder holds the same.

    Raises:
        OSError: it cannot have the name.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.rename(made, folder)
    except OSError:
        if not folder.is_dir():
            raise


def by_tenths(say: Callable[[str], None], task: str) -> Callable[[int, int], None]:
    """A function of how many are done and of how many, which says so whenever another tenth of them is."""

    def say_share(done: int, total: int) -> None:
        if done * 10 // total > (done - 1) * 10 // total:
            say(f"{task}: {done}/{total}")

    return say_share
