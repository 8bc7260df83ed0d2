"""A ResNet whose blocks add their shortcut inside their last convolution."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.network.backbone import BasicBlock, Bottleneck, ResNet18, ResNet50
from model.network.onednn.convs import FusedConv
from model.network.onednn.pooling import StemMaxPool


def fuse_backbone(backbone: ResNet18 | ResNet50) -> None:
    """Replace, in place, stem, pooling and blocks."""
    backbone.conv1, backbone.relu = FusedConv(backbone.conv1, relu=True), nn.Identity()  # type: ignore[assignment]
    backbone.maxpool = StemMaxPool()  # type: ignore[assignment]
    for stage in (backbone.layer1, backbone.layer2, backbone.layer3):
        for i, block in enumerate(stage):
            stage[i] = FusedBlock(block)  # type: ignore[arg-type]


class FusedBlock(nn.Module):
    """A residual block whose last convolution adds the shortcut; the shortcut's memory becomes the result's.

    A stage's input is kept by the caller as a feature map, and is never overwritten: every stage but ResNet-18's
    first begins with a projection, and that one begins with a pooled map which nobody keeps.
    """

    def __init__(self, block: Bottleneck | BasicBlock) -> None:
        super().__init__()
        first = [block.conv1, block.conv2] if isinstance(block, Bottleneck) else [block.conv1]
        last = block.conv3 if isinstance(block, Bottleneck) else block.conv2
        self.convs = nn.Sequential(*(FusedConv(conv, relu=True) for conv in first))
        self.last = FusedConv(last, relu=True)
        self.project = None if block.downsample is None else FusedConv(_conv_of(block.downsample), relu=False)
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
