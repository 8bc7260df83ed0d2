"""Breaks this process's GPU on purpose, and says whether the engine noticed: for `python -m benchmarks gpu`.

python -m benchmarks.gpu_failures assert|silence
"""

from __future__ import annotations

import os
import sys
import time

import numpy as np
import torch

from benchmarks.gpu_outputs import lively_model
from model.engine import Engine
from model.errors import DeviceLost
from model.tracker import PRESETS
from pipeline.actor.guard import DeviceGuard, GuardedEngine

ASSERT, SILENCE = 3, 4
SILENT_CYCLES = 10**12  # some ten minutes
TIMEOUT_S = 5.0


def main(failure: str) -> int:
    """Break the device as asked; returns the exit status where the engine noticed, else 0."""
    frame = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    began = time.monotonic()

    def end(reason: str) -> None:
        print(f"noticed after {time.monotonic() - began:.1f} s: {reason}", flush=True)
        os._exit(SILENCE if failure == "silence" else ASSERT)

    engine = Engine(lively_model("resnet18", "three"), PRESETS["vot"], device="cuda", max_tracks=4)
    track, _ = engine.init(frame, (100, 80, 60, 50)).result()
    guarded = GuardedEngine(engine, DeviceGuard(TIMEOUT_S, end))
    began = time.monotonic()
    if failure == "silence":
        torch.cuda._sleep(SILENT_CYCLES)
    else:
        torch.zeros(1, device="cuda")[torch.full((1,), 7, device="cuda")]
    try:
        guarded.step(track, frame).result(timeout=60)
    except DeviceLost as error:
        end(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
