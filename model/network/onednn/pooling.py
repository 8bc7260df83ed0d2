"""Max pooling of the stem on a CPU."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.caches import compiled


class StemMaxPool(nn.Module):
    """The 3x3 maximum at stride 2 with padding 1, of maps that are nowhere negative (they come from a ReLU).

    bfloat16 numbers of one sign are ordered as the integers with the same bits, and a CPU compares those 32 at a time;
    torch's own pooling widens each to float32 first. Other precisions are left to torch.
    """

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W], H and W odd, channels-last -> [B, C, (H + 1) / 2, (W + 1) / 2]."""
        if x.dtype is not torch.bfloat16 or x.shape[1] == 1 or not x.is_contiguous(memory_format=torch.channels_last):
            return F.max_pool2d(x, 3, 2, 1)
        return pool_integers(x.view(torch.int16)).view(torch.bfloat16)


def pool_integers(x: Tensor) -> Tensor:
    """The same maximum of int16 or uint8 [B, C, H, W], nowhere negative, channels-last."""
    maps = x.permute(0, 2, 3, 1)
    batch, height, width, channels = maps.shape
    pooled = maps.new_empty((batch, (height + 1) // 2, (width + 1) // 2, channels))
    _pool(maps.numpy(), pooled.numpy())
    return pooled.permute(0, 3, 1, 2)


@compiled(*(f"void({kind}[:, :, :, ::1], {kind}[:, :, :, ::1])" for kind in ("int16", "uint8")))
def _pool(x: np.ndarray, pooled: np.ndarray) -> None:
    height, width, channels = x.shape[1:]
    for sample in range(x.shape[0]):
        for row in range(pooled.shape[1]):
            for column in range(pooled.shape[2]):
                largest = pooled[sample, row, column]
                for channel in range(channels):
                    largest[channel] = 0
                for y in range(max(2 * row - 1, 0), min(2 * row + 2, height)):
                    for z in range(max(2 * column - 1, 0), min(2 * column + 2, width)):
                        value = x[sample, y, z]
                        for channel in range(channels):
                            largest[channel] = max(largest[channel], value[channel])
