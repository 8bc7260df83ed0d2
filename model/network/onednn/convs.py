"""Convolutions on a CPU with ReLU and residual sums inside them, weights packed once.

What they save (`model.network.fused`) is a sixth of a ResNet-50 on a CPU. Torch offers oneDNN's, which it computes
convolutions with, to its compiler as operators (`torch.ops.mkldnn`); no compiler is needed to call them.
"""

from __future__ import annotations

import threading

import torch
from torch import Tensor, nn

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


def available(dtype: torch.dtype) -> bool:
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
