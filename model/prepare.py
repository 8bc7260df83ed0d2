"""Make a network ready for inference: batch norm folded, channels-last, fused on a CPU, in the wanted precision."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Literal, cast

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from model.network import SiamMask
from model.onednn import fuse

Precision = Literal["fp32", "bf16", "fp16"]
DTYPES: dict[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def resolve_precision(precision: str, device: torch.device | str) -> Precision:
    """Return the precision to use on a device.

    `auto` is bf16 where the hardware computes it natively (AVX512-BF16 or AMX; CUDA capability 8 or more), else
    fp32.

    Raises:
        ValueError: the name is unknown.
    """
    if precision in DTYPES:
        return cast(Precision, precision)
    if precision != "auto":
        raise ValueError(f"unknown precision {precision!r}: expected auto, {', '.join(DTYPES)}")
    device = torch.device(device)
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device)[0] >= 8 else "fp32"
    return "bf16" if {"avx512_bf16", "amx_bf16"} & _cpu_flags() else "fp32"


def prepare(model: SiamMask, device: torch.device | str, precision: Precision, *, compiled: bool = False) -> SiamMask:
    """Return a copy of the network for inference on a device; the given one stays as it is.

    Args:
        model: any SiamMask; its batch-norm statistics are used as in eval mode.
        device: where the copy goes.
        precision: what the copy computes in; batch norm is folded in float32 before.
        compiled: whether torch's compiler is to have the copy, which then keeps plain layers on a CPU too.
    """
    ready = copy.deepcopy(model).eval().float()
    fold_batch_norm(ready)
    ready.requires_grad_(False)
    ready.to(device, DTYPES[precision])
    ready.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if torch.device(device).type == "cpu" and not compiled:
        fuse(ready)
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
