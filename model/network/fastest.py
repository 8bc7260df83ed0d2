"""The precision that a CPU computes a network in fastest, by a short timing.

What a processor announces does not tell: with its matrix unit switched off a CPU that has bfloat16 instructions
computes in them more slowly than in float32.
"""

from __future__ import annotations

import time

import torch

from model.network.inference import Precision, candidate_precisions, float_type, prepare, resolve_precision
from model.network.siammask import SEARCH_SIZE, SiamMask

_REPEATS = 3
_HOPELESS = 2.0  # times the best so far, after which a precision is not repeated
_BATCH = 2


def chosen_precision(asked: str, device: torch.device | str, network: SiamMask) -> Precision:
    """The precision to compute a network in on a device: the one asked for, or for `auto` the fastest.

    Raises:
        ValueError: the name is unknown, or the device does not compute in it.
    """
    if asked == "auto" and torch.device(device).type == "cpu":
        return fastest_precision(network)
    return resolve_precision(asked, device)


def fastest_precision(network: SiamMask) -> Precision:
    """Time search windows in each precision that the CPU has instructions for, in this thread, and take the fastest.

    int8 is among them where the network has ranges for it and is known to lose nothing by it (`int8_lossless`). Where
    there is one candidate nothing is timed; otherwise it takes about a second.
    """
    candidates = candidate_precisions(network)
    if len(candidates) == 1:
        return candidates[0]
    times: dict[Precision, float] = {}
    for precision in candidates:
        times[precision] = _seconds(network, precision, min(times.values(), default=float("inf")))
    return min(candidates, key=lambda precision: times[precision])


@torch.inference_mode()
def _seconds(network: SiamMask, precision: Precision, best: float) -> float:
    """The least time of a small batch, of this thread's own: what else the machine does changes nothing."""
    ready = prepare(network, "cpu", precision)
    pixels = torch.randint(0, 256, (_BATCH, 3, SEARCH_SIZE, SEARCH_SIZE), dtype=torch.uint8)
    search = pixels.to(torch.uint8 if precision == "int8" else float_type(precision), memory_format=torch.channels_last)
    seconds = float("inf")
    ready.features(search)  # packs the weights
    for _ in range(_REPEATS):
        started = time.thread_time()
        ready.features(search)
        seconds = min(seconds, time.thread_time() - started)
        if seconds > _HOPELESS * best:
            break
    return seconds
