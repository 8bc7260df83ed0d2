"""The ranges of a network's maps on real search windows, from which int8 computing takes its scales."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from model.network.backbone import Bottleneck
from model.network.inference import fold_batch_norm, prepare
from model.network.onednn.int8 import STAGES, Int8SiamMask, grid
from model.network.siammask import SiamMask

SHARE = 0.9999
"""Of a map's values in one search window that its range holds; the few beyond it are cut to it."""


class MapError(NamedTuple):
    """How far a map lies from the one in float32: root mean square of the difference over that of the map."""

    name: str
    largest: float
    int8: float
    bf16: float


@torch.inference_mode()
def map_ranges(network: SiamMask, crops: Sequence[np.ndarray], *, share: float = SHARE) -> dict[str, float]:
    """The largest size of value of each map that int8 computing rounds, by the module that makes it.

    Args:
        network: any SiamMask; stays as it is.
        crops: search windows, uint8 [255, 255, 3] BGR; 16 to 64 are enough.
        share: what part of a map's values counts, window by window; the largest of the windows' ranges is taken.

    Raises:
        ValueError: there is no crop.
    """
    if not crops:
        raise ValueError("ranges are measured on search windows, and there is none")
    ranges: dict[str, float] = {}

    def record(name: str, values: Tensor) -> None:
        sizes = values.abs().flatten()
        kept = max(1, int(share * len(sizes)))
        ranges[name] = max(ranges.get(name, 0.0), float(sizes.kthvalue(kept).values))

    ready = _folded(network)
    for crop in crops:
        _watch(ready, _makers(ready), crop, record)
    return ranges


@torch.inference_mode()
def map_errors(network: SiamMask, crops: Sequence[np.ndarray]) -> Iterator[MapError]:
    """The errors of the maps that blocks and neck hand on, in int8 and in bfloat16, over search windows."""
    exact, halved = _folded(network), _folded(network).to(torch.bfloat16)
    rounded = prepare(network, "cpu", "int8")
    assert isinstance(rounded, Int8SiamMask)
    makers, ranges = rounded.makers(), network.int8_ranges
    squares = {name: np.zeros(3) for name in makers}
    for crop in crops:
        truth: dict[str, Tensor] = {}
        _watch(exact, _makers(exact), crop, truth.__setitem__)

        def add(column: int, name: str, values: Tensor, truth: Mapping[str, Tensor] = truth) -> None:
            if name in squares:
                squares[name][column] += float((values - truth[name]).square().sum())

        def of_int8(name: str, integers: Tensor) -> None:
            add(1, name, grid(ranges[name], signed=_signed(name)).numbers(integers, torch.float32))

        for name in squares:
            squares[name][0] += float(truth[name].square().sum())
        _watch(rounded, makers, crop, of_int8)
        _watch(halved, _makers(halved), crop, lambda name, values: add(2, name, values.float()))
    for name, (total, of_rounded, of_halved) in squares.items():
        yield MapError(name, ranges[name], float(np.sqrt(of_rounded / total)), float(np.sqrt(of_halved / total)))


def _folded(network: SiamMask) -> SiamMask:
    ready = copy.deepcopy(network).eval().float()
    fold_batch_norm(ready)
    return ready


def _makers(network: SiamMask) -> dict[str, nn.Module]:
    """The modules whose outputs are rounded; those that a ReLU follows are read behind it."""
    makers: dict[str, nn.Module] = {"backbone.conv1": network.backbone.conv1}
    for stage in STAGES:
        for number, block in enumerate(getattr(network.backbone, stage)):
            name = f"backbone.{stage}.{number}"
            makers |= {f"{name}.conv1": block.conv1, name: block}
            if isinstance(block, Bottleneck):
                makers[f"{name}.conv2"] = block.conv2
            if block.downsample is not None:
                makers[f"{name}.downsample"] = block.downsample
    return {**makers, "neck": network.neck}


def _signed(name: str) -> bool:
    return name == "neck" or name.endswith("downsample")


def _watch(
    network: SiamMask | Int8SiamMask,
    makers: Mapping[str, nn.Module],
    crop: np.ndarray,
    see: Callable[[str, Tensor], None],
) -> None:
    """Compute the features of one search window, and have the maps seen as they are made."""

    def hook(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        # What follows may write over a map, so that a copy is seen.
        return lambda module, inputs, output: see(name, output.clone() if _signed(name) else output.clamp_min(0))

    hooks = [module.register_forward_hook(hook(name)) for name, module in makers.items()]
    pixels = torch.from_numpy(crop).permute(2, 0, 1)[None].contiguous(memory_format=torch.channels_last)
    try:
        network.features(pixels if isinstance(network, Int8SiamMask) else pixels.to(next(network.parameters()).dtype))
    finally:
        for handle in hooks:
            handle.remove()
