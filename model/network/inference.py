"""Make a network ready for inference: batch norm folded, channels-last, fused on a CPU, in the wanted precision."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Literal, cast, get_args

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from model.network import SiamMask
from model.network.onednn import FusedSiamMask, Int8SiamMask, fuse, quantise

Precision = Literal["fp32", "bf16", "fp16", "int8"]
DTYPES: dict[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Of the floats of a precision; `float_type` has that of int8 too."""

BF16_FLAGS = {"avx512_bf16", "amx_bf16"}
INT8_FLAGS = {"avx512_vnni", "avx_vnni", "amx_int8"}
"""Of /proc/cpuinfo; without one of them a CPU multiplies 8-bit integers more slowly than floats, and may overflow."""


def resolve_precision(precision: str, device: torch.device | str) -> Precision:
    """Return the precision to use on a device.

    `auto` is bf16 where the hardware has instructions for it (AVX512-BF16 or AMX; CUDA capability 8 or more), else
    fp32. `model.network.fastest` measures instead.

    Raises:
        ValueError: the name is unknown, or the device does not compute in it.
    """
    device = torch.device(device)
    if precision in get_args(Precision):
        if precision == "int8" and device.type != "cpu":
            raise ValueError("precision int8 is for CPUs: expected auto, fp32, bf16 or fp16 on a GPU")
        if precision == "int8" and not INT8_FLAGS & _cpu_flags():
            raise ValueError(f"precision int8: this CPU has none of {', '.join(sorted(INT8_FLAGS))}; use fp32")
        return cast(Precision, precision)
    if precision != "auto":
        raise ValueError(f"unknown precision {precision!r}: expected auto, {', '.join(get_args(Precision))}")
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device)[0] >= 8 else "fp32"
    return "bf16" if BF16_FLAGS & _cpu_flags() else "fp32"


def candidate_precisions(network: SiamMask) -> list[Precision]:
    """What a CPU may compute a network in where nothing was asked for: float32, and what it has instructions for.

    int8 is among them where the network's file says that it loses nothing by it.
    """
    flags = _cpu_flags()
    halved: list[Precision] = ["bf16"] if BF16_FLAGS & flags else []
    rounded: list[Precision] = ["int8"] if INT8_FLAGS & flags and network.int8_lossless else []
    return [*rounded, *halved, "fp32"]


def float_type(precision: Precision) -> torch.dtype:
    """The type of what a network of a precision computes in floats."""
    if precision == "int8":
        return DTYPES[resolve_precision("auto", "cpu")]
    return DTYPES[precision]


def prepare(
    model: SiamMask, device: torch.device | str, precision: Precision, *, compiled: bool = False
) -> SiamMask | FusedSiamMask | Int8SiamMask:
    """Return a copy of the network for inference on a device; the given one stays as it is.

    Args:
        model: any SiamMask; its batch-norm statistics are used as in eval mode.
        device: where the copy goes.
        precision: what the copy computes in; batch norm is folded in float32 before.
        compiled: whether torch's compiler is to have the copy, which then keeps plain layers on a CPU too.

    Raises:
        ValueError: int8 was asked for and the network has no ranges for it, or is to be compiled.
    """
    ready = copy.deepcopy(model).eval().float()
    fold_batch_norm(ready)
    ready.requires_grad_(False)
    if precision == "int8":
        if compiled:
            raise ValueError("a compiled step does not compute in int8: leave out one of the two")
        return quantise(ready, float_type(precision))
    ready.to(device, DTYPES[precision])
    ready.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if torch.device(device).type == "cpu" and not compiled:
        return fuse(ready)
    return ready


def fold_batch_norm(module: nn.Module) -> None:
    """Fold, in place, every batch norm into the convolution defined just before it in the same module."""
    previous: tuple[str, nn.Module] | None = None
    for name, child in list(module.named_children()):
        if isinstance(child, nn.BatchNorm2d) and previous and isinstance(previous[1], nn.Conv2d):
            setattr(module, previous[0], fuse_conv_bn_eval(previous[1], child))
            setattr(module, name, nn.Identity())
        else:
            fold_batch_norm(child)
        previous = (name, child)


def _cpu_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return next((set(line.split()) for line in lines if line.lower().startswith("flags")), set())
