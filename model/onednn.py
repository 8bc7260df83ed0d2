"""Run a prepared network's convolutions on a CPU with ReLU and residual sums inside them, weights packed once.

Between two convolutions of a ResNet every map is written and read again for its ReLU and its sum; on a CPU that
is a sixth of a ResNet-50. oneDNN, which torch computes convolutions with, can do both on the way out. Torch offers
this to its compiler as operators (`torch.ops.mkldnn`); no compiler is needed to call them.
"""

from __future__ import annotations

import threading

import torch
from torch import Tensor, nn

from model.network import SiamMask
from model.network.backbone import BasicBlock, Bottleneck, ResNet18, ResNet50

_PACKING = threading.Lock()


class FusedConv(nn.Module):
    """A convolution with bias, then ReLU where asked for; called with a second map, adds that before the ReLU.

    The sum is written over the second map. Weights are packed for the shape of the first input; other shapes give
    the same results. Threads may share it.
    """

    def __init__(self, conv: nn.Conv2d, *, relu: bool) -> None:
        super().__init__()
        self._weight, self._bias, self._relu = conv.weight.detach(), conv.bias, relu
        self._packed = False
        self._shape = (list(conv.padding), list(conv.stride), list(conv.dilation), conv.groups)

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """[B, C, H, W] -> [B, C', H', W'], `residual` of the result's shape or none."""
        ops, (padding, stride, dilation, groups) = torch.ops.mkldnn, self._shape
        if not self._packed:
            with _PACKING:
                if not self._packed:
                    self._weight = ops._reorder_convolution_weight(
                        self._weight, padding, stride, dilation, groups, list(x.shape)
                    )
                    self._packed = True
        conv = (self._weight, self._bias, padding, stride, dilation, groups)
        if residual is None:
            return ops._convolution_pointwise(x, *conv, "relu" if self._relu else "none", [], None)
        after = "relu" if self._relu else None
        return ops._convolution_pointwise_.binary(residual, x, *conv, "add", 1.0, after, [], None)


class _FusedBlock(nn.Module):
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


def fuse(network: SiamMask) -> None:
    """Replace, in place, the convolutions of a network whose batch norm is folded; does nothing where oneDNN cannot.

    The network must be on the CPU and is for inference only afterwards.
    """
    if not _works(next(network.parameters()).dtype):
        return
    if isinstance(network.backbone, ResNet18 | ResNet50):
        _fuse_backbone(network.backbone)
    for module in list(network.modules()):
        if isinstance(module, nn.Sequential) and not any(isinstance(child, _FusedBlock) for child in module):
            _fuse_sequence(module)


def _fuse_backbone(backbone: ResNet18 | ResNet50) -> None:
    backbone.conv1, backbone.relu = FusedConv(backbone.conv1, relu=True), nn.Identity()  # type: ignore[assignment]
    for stage in (backbone.layer1, backbone.layer2, backbone.layer3):
        for i, block in enumerate(stage):
            stage[i] = _FusedBlock(block)  # type: ignore[arg-type]


def _fuse_sequence(sequence: nn.Sequential) -> None:
    """Give each convolution the ReLU that follows it."""
    layers = [layer for layer in sequence if not isinstance(layer, nn.Identity)]
    fused: list[nn.Module] = []
    for layer, following in zip(layers, [*layers[1:], None], strict=True):
        if isinstance(layer, nn.Conv2d):
            fused.append(FusedConv(layer, relu=isinstance(following, nn.ReLU)))
        elif not (isinstance(layer, nn.ReLU) and fused and isinstance(fused[-1], FusedConv)):
            fused.append(layer)
    for i in reversed(range(len(sequence))):
        del sequence[i]
    sequence.extend(fused)


def _conv_of(sequence: nn.Sequential) -> nn.Conv2d:
    (conv,) = (layer for layer in sequence if isinstance(layer, nn.Conv2d))
    return conv


def _works(dtype: torch.dtype) -> bool:
    """Whether this torch has the operators, and oneDNN computes in this precision here."""
    if not torch.backends.mkldnn.is_available():
        return False
    conv = nn.Conv2d(16, 16, 3).to(dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = torch.zeros(1, 16, 8, 8, dtype=dtype).to(memory_format=torch.channels_last)
    try:
        with torch.inference_mode():
            FusedConv(conv, relu=True)(x, torch.zeros(1, 16, 6, 6, dtype=dtype).to(memory_format=torch.channels_last))
    except (AttributeError, RuntimeError):
        return False
    return True
