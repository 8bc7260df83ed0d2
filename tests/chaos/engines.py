"""Engines that cost next to nothing and misbehave on demand, for `pipeline.driver.run.run(options, build_engine=…)`."""

from __future__ import annotations

import itertools
import os
import signal
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import ray

from benchmarks.null_model import NullEngine
from model.engine.ways import StepTrial
from pipeline import storage
from pipeline.actor import segmenter
from pipeline.output import commit as parts
from pipeline.storage.scratch import default_parent

POISON_WIDTH = 13.0
"""An object whose box has this width kills the actor that starts to track it."""


TRIALS = (StepTrial("plain", 0.02, 0.0), StepTrial("recorded", fault="it did not end"))
"""What came of trying the ways to compute a step, for those that have tried."""


class Deadly:
    """Builds engines that kill their actor where a track starts with a box of `POISON_WIDTH`.

    Their actors find their scratch disk full for the clip `full`.

    Args:
        last_words: a folder; each actor that is killed leaves a file there, which names the scratch folders it had.
    """

    def __init__(self, last_words: str) -> None:
        self._last_words = last_words

    def __call__(self, model: Any, placement: Any, precision: Any) -> NullEngine:
        add_rows = parts.PartWriter.add_rows

        def full(self: Any, clip_id: str, rows: Any) -> None:
            if clip_id == "full":
                raise storage.NoSpace("/scratch", "write", "OSError (ENOSPC)", "free space there")
            add_rows(self, clip_id, rows)

        parts.PartWriter.add_rows = full  # type: ignore[method-assign]
        return _DeadlyEngine(Path(self._last_words))


class _DeadlyEngine(NullEngine):
    def __init__(self, last_words: Path) -> None:
        super().__init__()
        self._last_words = last_words

    def init(self, frame: np.ndarray, box: np.ndarray) -> Any:
        if box[2] == POISON_WIDTH:
            opened = (Path(os.readlink(entry)) for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink())
            folders = [str(path.with_suffix("")) for path in opened if path.parent == default_parent()]
            (self._last_words / str(os.getpid())).write_text("\n".join(folders))
            os.kill(os.getpid(), signal.SIGKILL)
        return super().init(frame, box)


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


class LostDevices:
    """Builds engines of which some lose their device: after so many frames every request fails, or none is answered.

    Args:
        folder: counts the engines made, for the actors share no memory.
        failing, silent: which of the engines, in the order in which they are made, 0 the first.
        gpu: those on this GPU fail, whatever their number.
    """

    def __init__(
        self, folder: str, *, failing: range = range(0), silent: range = range(0), frames: int = 5, gpu: str = ""
    ) -> None:
        self._folder, self._failing, self._silent, self._frames = Path(folder), failing, silent, frames
        self._gpu = gpu

    def __call__(self, model: Any, placement: Any, precision: Any) -> NullEngine:
        number = next(number for number in itertools.count() if self._took(number))
        on_it = self._gpu and self._gpu in ray.get_runtime_context().get_accelerator_ids()["GPU"]
        if on_it or number in self._failing or number in self._silent:
            return _LostDevice(self._frames, number in self._silent)
        return _WellTried(0.002)

    def _took(self, number: int) -> bool:
        try:
            (self._folder / str(number)).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


class _WellTried(NullEngine):
    trials, device_kind = TRIALS, "a card"


class _LostDevice(NullEngine):
    def __init__(self, frames: int, silent: bool) -> None:
        super().__init__(0.002)
        self._left, self._silent = frames, silent

    def _answer(self, value: Any) -> Future[Any]:
        self._left -= 1
        if self._left >= 0:
            return super()._answer(value)
        future: Future[Any] = Future()
        if not self._silent:
            future.set_exception(RuntimeError("CUDA error: unspecified launch failure"))
        return future
