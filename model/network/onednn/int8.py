"""Backbone, neck and search embeddings in 8-bit integers on a CPU; templates, heads and masks stay in floats.

A map is held as unsigned integers on a grid of its own (`Grid`), a weight as signed ones with a scale for each output
channel. oneDNN multiplies them in integers and rounds each result to the next grid on the way out, with ReLU and the
block's sum inside. The search window goes in as the pixels that it is. Ranges are those of `model.network.calibration`.

Everything that touches torch's operators for quantised convolutions (`torch.ops.onednn`) is in this module: they are
made for torch's compiler, and their signatures may change.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from model.network.backbone import BasicBlock, Bottleneck
from model.network.heads import CorrelationBranch
from model.network.onednn.candidates import correlate_each
from model.network.onednn.network import FusedSiamMask
from model.network.onednn.pooling import pool_integers
from model.network.onednn.refine import cut_windows
from model.network.siammask import Features, Response, SiamMask, Template, neck_patches

STAGES = ("layer1", "layer2", "layer3")
_PACKING = threading.Lock()


class Grid(NamedTuple):
    """A map of unsigned 8-bit integers i stands for the numbers (i - zero) * scale."""

    scale: float
    zero: int

    def numbers(self, integers: Tensor, dtype: torch.dtype) -> Tensor:
        """The numbers that integers stand for, in memory of their own."""
        floats = integers.to(dtype)
        return (floats.sub_(self.zero) if self.zero else floats).mul_(self.scale)


PIXELS = Grid(1.0, 0)
_MEAN_PIXEL = 118.0


def grid(largest: float, *, signed: bool) -> Grid:
    """The grid that reaches from 0, or from -`largest`, to `largest`."""
    return Grid(max(largest, 1e-6) / (127 if signed else 255), 128 if signed else 0)


class Int8Conv(nn.Module):
    """A convolution of integers; called with a second map on the grid `added`, adds that before the ReLU.

    The sum is written over the second map.

    Args:
        conv: weight and bias; folded.
        source: the grid of what comes in.
        target: the grid of the result, or its float type.
        mean: of the numbers that come in. What the rounding of the weights does to them is taken out of the bias.
    """

    def __init__(
        self,
        conv: nn.Conv2d,
        source: Grid,
        target: Grid | torch.dtype,
        *,
        relu: bool,
        added: Grid | None = None,
        mean: float = 0.0,
    ) -> None:
        super().__init__()
        weight = conv.weight.detach().float()
        scales = weight.abs().amax((1, 2, 3)).clamp_min(1e-12) / 127
        steps = scales[:, None, None, None]
        rounded = (weight / steps).round()
        self._weight = rounded.to(torch.int8)
        self._scales, self._zeros = scales, torch.zeros(len(scales), dtype=torch.int64)
        bias = torch.zeros(len(scales)) if conv.bias is None else conv.bias.detach().float()
        self._bias = bias + mean * (weight - rounded * steps).sum((1, 2, 3))
        self._source, self._added = source, added
        self._shape = (list(conv.stride), list(conv.padding), list(conv.dilation), conv.groups)
        if isinstance(target, Grid):
            self._target = (target.scale, target.zero, torch.uint8)
        else:
            self._target = (1.0, 0, target)
        self._after = "relu" if relu else "none"
        self._packed = False

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """uint8 [B, C, H, W] -> [B, C', H', W']; `residual` uint8 of the result's shape or none."""
        ops, source = torch.ops.onednn, self._source
        if not self._packed:
            with _PACKING:
                if not self._packed:
                    self._weight = ops.qconv_prepack(self._weight, self._scales, *source, *self._shape, list(x.shape))
                    self._packed = True
        weights = self._weight, self._scales, self._zeros
        if residual is None:
            return ops.qconv2d_pointwise(
                x, *source, *weights, self._bias, *self._shape, *self._target, self._after, [], ""
            )
        assert self._added is not None
        return ops.qconv2d_pointwise.binary(
            x, *source, *weights, residual, self._bias, *self._shape, *self._target, *self._added, "sum", 1.0,
            self._after, [], "",
        )  # fmt: skip


class Int8Block(nn.Module):
    """A residual block on integers; as in `FusedBlock`, the shortcut's memory becomes the result's."""

    def __init__(self, block: Bottleneck | BasicBlock, source: Grid, largest: Mapping[str, float], name: str) -> None:
        super().__init__()
        first = [block.conv1, block.conv2] if isinstance(block, Bottleneck) else [block.conv1]
        last = block.conv3 if isinstance(block, Bottleneck) else block.conv2
        convs, inner = [], source
        for number, conv in enumerate(first, 1):
            outer = grid(largest[f"{name}.conv{number}"], signed=False)
            convs.append(Int8Conv(conv, inner, outer, relu=True))
            inner = outer
        self.convs = nn.Sequential(*convs)
        self.project: Int8Conv | None = None
        shortcut = source
        if block.downsample is not None:
            (conv,) = (layer for layer in block.downsample if isinstance(layer, nn.Conv2d))
            shortcut = grid(largest[f"{name}.downsample"], signed=True)
            self.project = Int8Conv(conv, source, shortcut, relu=False)
        self.last = Int8Conv(last, inner, grid(largest[name], signed=False), relu=True, added=shortcut)
        self._trim = isinstance(block, BasicBlock) and block.stride == 2

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x
        if self.project is not None:
            inner = x[:, :, 1:-1, 1:-1].contiguous(memory_format=torch.channels_last) if self._trim else x
            shortcut = self.project(inner)
        return self.last(self.convs(x), shortcut)


class Int8Branch(nn.Module):
    """What `FusedBranch` answers: the embedding of the neck in integers, correlation and head in floats."""

    def __init__(self, branch: CorrelationBranch, head: nn.Module, neck: Grid, dtype: torch.dtype) -> None:
        super().__init__()
        (conv,) = (layer for layer in branch.conv_search if isinstance(layer, nn.Conv2d))
        self._embedding, self._head = Int8Conv(conv, neck, dtype, relu=True), head

    def forward(self, kernels: Tensor, neck: Tensor) -> Tensor:
        """Kernels [B, C, 5, 5] and uint8 features [B, C, 31, 31] -> [B, outputs, 25, 25]."""
        return correlate_each(self._embedding(neck), kernels, self._head)


class Int8SiamMask(nn.Module):
    """A network for inference on a CPU, made by `quantise`; the methods are those of `SiamMask`.

    `features` takes uint8 pixels, and the maps that it answers with are integers.
    """

    def __init__(self, network: SiamMask, largest: Mapping[str, float], dtype: torch.dtype) -> None:
        super().__init__()
        self.config = network.config
        self._dtype = dtype
        backbone = network.backbone
        source = grid(largest["backbone.conv1"], signed=False)
        self._stem = Int8Conv(backbone.conv1, PIXELS, source, relu=True, mean=_MEAN_PIXEL)
        self._stages = nn.ModuleList()
        grids = [source]
        for name in STAGES:
            blocks = nn.Sequential()
            for number, block in enumerate(getattr(backbone, name)):
                blocks.append(Int8Block(block, source, largest, f"backbone.{name}.{number}"))
                source = grid(largest[f"backbone.{name}.{number}"], signed=False)
            self._stages.append(blocks)
            grids.append(source)
        self._grids: Sequence[Grid] = grids[:3]  # of stem, stage 2 and stage 3
        self._neck_grid = grid(largest["neck"], signed=True)
        (conv,) = (layer for layer in network.neck if isinstance(layer, nn.Conv2d))
        self._neck = Int8Conv(conv, source, self._neck_grid, relu=False)
        rest = FusedSiamMask(copy.deepcopy(network).to(dtype).to(memory_format=torch.channels_last))  # type: ignore[call-overload]
        self._score = Int8Branch(network.score, rest.score.head, self._neck_grid, dtype)
        self._box = None
        if network.box is not None and rest.box is not None:
            self._box = Int8Branch(network.box, rest.box.head, self._neck_grid, dtype)
        self._rest = rest

    def makers(self) -> dict[str, nn.Module]:
        """The modules that answer with the maps that the network's modules of these names make."""
        blocks = {
            f"backbone.{name}.{number}": block
            for name, stage in zip(STAGES, self._stages, strict=True)
            for number, block in enumerate(stage.children())
        }
        return {"backbone.conv1": self._stem, **blocks, "neck": self._neck}

    def template(self, crop: Tensor) -> Template:
        return self._rest.template(crop)

    def features(self, search: Tensor) -> Features:
        """uint8 [B, 3, 255, 255] search windows -> their maps, uint8."""
        stem = self._stem(search)
        stage2 = self._stages[0](pool_integers(stem))
        stage3 = self._stages[1](stage2)
        return Features(stem, stage2, stage3, self._neck(self._stages[2](stage3)))

    def respond(self, template: Template, features: Features) -> Response:
        box = None
        if self._box is not None and template.box is not None:
            box = self._box(template.box, features.neck)
        return Response(self._score(template.score, features.neck), box)

    def patches(self, features: Features, batch: Tensor, row: Tensor, col: Tensor) -> Tensor:
        return self._neck_grid.numbers(neck_patches(features.neck, batch, row, col), self._dtype)

    def mask_vectors(self, patches: Tensor, kernels: Tensor) -> Tensor:
        return self._rest.mask_vectors(patches, kernels)

    def mask63(self, vectors: Tensor) -> Tensor:
        return self._rest.mask63(vectors)

    def refined(self, features: Features, vectors: Tensor, batch: Tensor, row: Tensor, col: Tensor) -> Tensor:
        maps = (features.stem, features.stage2, features.stage3)
        stem, stage2, stage3 = (
            own.numbers(cut_windows(integers, batch, row, col, size=size, step=step), self._dtype)
            for integers, own, size, step in zip(maps, self._grids, (61, 31, 15), (4, 2, 1), strict=True)
        )
        return self._rest.refined_windows(vectors, stem, stage2, stage3)


def quantise(network: SiamMask, dtype: torch.dtype) -> Int8SiamMask:
    """A copy of a network whose batch norm is folded, in 8-bit integers; what stays in floats is of `dtype`.

    Raises:
        ValueError: the network has no scales.
    """
    if not network.int8_ranges:
        raise ValueError("these weights have no ranges for int8: add them with `python -m model.weights calibrate`")
    return Int8SiamMask(network, network.int8_ranges, dtype)
