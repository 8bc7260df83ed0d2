"""Engines that cost next to nothing and misbehave on demand, for `pipeline.run.run(options, build_engine=…)`."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.null_model import NullEngine
from pipeline import parts, segmenter, storage

POISON_WIDTH = 13.0
"""An object whose box has this width kills the actor that starts to track it."""


class DeadlyEngine(NullEngine):
    """Kills its process where a track starts with a box of `POISON_WIDTH`."""

    def init(self, frame: np.ndarray, box: np.ndarray) -> Any:
        if box[2] == POISON_WIDTH:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().init(frame, box)


def build_deadly(model: Any, placement: Any, precision: Any) -> DeadlyEngine:
    """A deadly engine in an actor whose scratch disk is full for the clip `full`."""
    add_rows = parts.PartWriter.add_rows

    def full(self: Any, clip_id: str, rows: Any) -> None:
        if clip_id == "full":
            raise storage.NoSpace("/scratch", "write", "OSError (ENOSPC)", "free space there")
        add_rows(self, clip_id, rows)

    parts.PartWriter.add_rows = full  # type: ignore[method-assign]
    return DeadlyEngine()


class BadRestart:
    """Builds engines in turn: one that kills its actor at its first track, two that cannot be built, then good ones.

    Args:
        folder: counts, for the actors share no memory.
    """

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)

    def __call__(self, model: Any, placement: Any, precision: Any) -> NullEngine:
        segmenter.RESTART_PAUSE_S = 0.1
        number = len(list(self._folder.iterdir()))
        (self._folder / f"{number}-{os.getpid()}").touch()
        if number in (1, 2):
            raise RuntimeError("the device is not ready")
        return _Suicidal() if number == 0 else NullEngine()


class _Suicidal(NullEngine):
    def init(self, frame: np.ndarray, box: np.ndarray) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)
