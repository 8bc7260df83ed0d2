"""The network as cuDNN may compute it faster: convolutions with their bias, sum and ReLU in one call."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from model.network.fused import fuse_blocks, fuse_sequence
from model.network.siammask import SiamMask

OPERATORS = torch.ops.aten


class CudnnConv(nn.Module):
    """A convolution on a GPU with bias, then ReLU where asked for; given a second map, it adds that before the ReLU."""

    def __init__(self, conv: nn.Conv2d, *, relu: bool) -> None:
        super().__init__()
        self._conv, self._relu = conv, relu

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """[B, C, H, W] -> [B, C', H', W'], `residual` of the result's shape or none."""
        conv = self._conv
        if not self._relu:
            return conv(x) if residual is None else conv(x) + residual
        shape = conv.stride, conv.padding, conv.dilation, conv.groups
        if residual is None:
            return OPERATORS.cudnn_convolution_relu(x, conv.weight, conv.bias, *shape)
        return OPERATORS.cudnn_convolution_add_relu(x, conv.weight, residual, 1.0, conv.bias, *shape)


def fused_copy(network: SiamMask) -> SiamMask:
    """A network that shares the weights of one for inference on a GPU, its layers put together for cuDNN."""
    shared = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
    made = copy.deepcopy(network, shared)
    fuse_blocks(made.backbone, CudnnConv)
    sequences = [made.neck]
    for branch in (made.score, made.box, made.mask):
        if branch is not None:
            sequences += [branch.conv_kernel, branch.conv_search, branch.head]
    if (refine := made.refine) is not None:
        sequences += [refine.v0, refine.v1, refine.v2, refine.h0, refine.h1, refine.h2]
    for sequence in sequences:
        fuse_sequence(sequence, CudnnConv)
    return made
