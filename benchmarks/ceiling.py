"""What the machine itself can do: the rates that the service's own are compared with, measured in the same run."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from model.network.inference import DTYPES, Precision

_GEMM_SIDES = {"cpu": (1024, 2048, 4096), "cuda": (4096, 8192, 16384)}
# Channels in, channels out, side of the map, kernel: the sizes that ResNets have at a stride of 4 and 8.
_CONVOLUTIONS = (
    (64, 64, 63, 3), (64, 256, 63, 1), (128, 128, 31, 3), (256, 256, 31, 3), (256, 1024, 31, 1), (1024, 256, 31, 1),
    (512, 1024, 31, 3), (512, 512, 31, 3),
)  # fmt: skip
_CONVOLUTION_BATCH = {"cpu": 8, "cuda": 64}


@dataclass(frozen=True, slots=True)
class Peak:
    """The best rate of plain arithmetic that was seen, in FLOP/s, and what reached it."""

    flops: float
    by: str


def arithmetic_peak(device: str, precision: Precision, seconds: float = 0.4) -> Peak:
    """The best of matrix products and of 1x1 and 3x3 convolutions, each given `seconds`.

    Multiplications and additions count one each, as in `count_flops`.
    """
    kind, place = DTYPES[precision], torch.device(device).type
    best = Peak(0.0, "")
    with torch.inference_mode():
        for side in _GEMM_SIDES[place]:
            left, right = (torch.rand(side, side, device=device).to(kind) for _ in range(2))
            rate = 2 * side**3 * _calls_per_second(partial(torch.matmul, left, right), device, seconds)
            best = max(best, Peak(rate, f"matrix product of {side}"), key=lambda peak: peak.flops)
        for inside, outside, side, kernel in _CONVOLUTIONS:
            layer = nn.Conv2d(inside, outside, kernel, padding=kernel // 2, bias=False)
            layer = layer.to(device, kind).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            batch = _CONVOLUTION_BATCH[place]
            maps = torch.rand(batch, inside, side, side, device=device).to(kind)
            maps = maps.to(memory_format=torch.channels_last)
            work = 2 * batch * inside * outside * (side * kernel) ** 2
            rate = work * _calls_per_second(partial(layer, maps), device, seconds)
            operation = f"{kernel}x{kernel} convolution {inside} to {outside} of {side}x{side}"
            best = max(best, Peak(rate, operation), key=lambda peak: peak.flops)
    return best


def copy_rate(seconds: float = 0.4) -> float:
    """Bytes a second that one thread copies in memory, arrays of 64 MB."""
    source = np.ones(64_000_000, np.uint8)
    target = np.empty_like(source)
    return source.nbytes * _calls_per_second(lambda: np.copyto(target, source), "cpu", seconds)


def count_flops(function: Callable[[], object]) -> int:
    """Floating-point operations of a call's convolutions and matrix products."""
    counter = FlopCounterMode(display=False)
    with counter, torch.inference_mode():
        function()
    return int(counter.get_total_flops())


def _calls_per_second(function: Callable[[], object], device: str, seconds: float) -> float:
    """The best of several spans, so that a neighbour's burst on a shared machine does not lower a ceiling."""

    def span(limit: float) -> float:
        started, calls = time.perf_counter(), 0
        while not calls or time.perf_counter() - started < limit:
            function()
            calls += 1
            if device != "cpu" and calls % 8 == 0:
                torch.cuda.synchronize()
        if device != "cpu":
            torch.cuda.synchronize()
        return calls / (time.perf_counter() - started)

    span(seconds / 8)
    return max(span(seconds / 4) for _ in range(4))
