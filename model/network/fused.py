"""Layers as one operation: the ReLU and the sum that follow a convolution are done by it, on the way out.

Between two convolutions of a ResNet every map is written and read again for its ReLU and its sum. Libraries of
convolutions can do both where they write their result; which library is said by the `Fused` that is handed in.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from model.network.backbone import BasicBlock, Bottleneck, ResNet18, ResNet50


class Fused(Protocol):
    """Makes a convolution with what follows it: called with one map, it computes bias and, where asked for, ReLU;
    called with a second map it adds that before the ReLU, and may write over it."""

    def __call__(self, conv: nn.Conv2d, *, relu: bool) -> nn.Module: ...


def fuse_sequence(sequence: nn.Sequential, fused: Fused) -> None:
    """Give each convolution, in place, the ReLU that follows it."""
    layers = [layer for layer in sequence if not isinstance(layer, nn.Identity)]
    made: list[nn.Module] = []
    owns = False  # whether the last of them is a convolution
    for layer, following in zip(layers, [*layers[1:], None], strict=True):
        if isinstance(layer, nn.Conv2d):
            made.append(fused(layer, relu=isinstance(following, nn.ReLU)))
            owns = True
        elif not (isinstance(layer, nn.ReLU) and owns):
            made.append(layer)
            owns = False
    for i in reversed(range(len(sequence))):
        del sequence[i]
    sequence.extend(made)


def fuse_blocks(backbone: ResNet18 | ResNet50, fused: Fused) -> None:
    """Replace, in place, stem and blocks."""
    backbone.conv1, backbone.relu = fused(backbone.conv1, relu=True), nn.Identity()  # type: ignore[assignment]
    for stage in (backbone.layer1, backbone.layer2, backbone.layer3):
        for i, block in enumerate(stage):
            stage[i] = FusedBlock(block, fused)  # type: ignore[arg-type]


class FusedBlock(nn.Module):
    """A residual block whose last convolution adds the shortcut, over whose memory it may write.

    A stage's input is kept by the caller as a feature map, and is never overwritten: every stage but ResNet-18's
    first begins with a projection, and that one begins with a pooled map which nobody keeps.
    """

    def __init__(self, block: Bottleneck | BasicBlock, fused: Fused) -> None:
        super().__init__()
        first = [block.conv1, block.conv2] if isinstance(block, Bottleneck) else [block.conv1]
        last = block.conv3 if isinstance(block, Bottleneck) else block.conv2
        self.convs = nn.Sequential(*(fused(conv, relu=True) for conv in first))
        self.last = fused(last, relu=True)
        self.project = None if block.downsample is None else fused(_conv_of(block.downsample), relu=False)
        self._trim = isinstance(block, BasicBlock) and block.stride == 2

    def forward(self, x: Tensor) -> Tensor:
        if self.project is None:
            shortcut = x
        else:
            inner = x[:, :, 1:-1, 1:-1].contiguous(memory_format=torch.channels_last) if self._trim else x
            shortcut = self.project(inner)
        return self.last(self.convs(x), shortcut)


def _conv_of(sequence: nn.Sequential) -> nn.Conv2d:
    (conv,) = (layer for layer in sequence if isinstance(layer, nn.Conv2d))
    return conv
