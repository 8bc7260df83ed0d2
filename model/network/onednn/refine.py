"""The refinement on a CPU: windows cut by slices, the first enlargement as a matrix product, sums in place."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.network.fused import fuse_sequence
from model.network.onednn.convs import FusedConv
from model.network.refine import CELLS_OUTSIDE, MASK_SIZE, Refine

_FIRST = 15
"""Side of the map that one response vector is enlarged to at first."""


class FusedRefine(nn.Module):
    """What `Refine` computes, with its weights; ``v*``, ``h*`` and ``post*`` as there."""

    def __init__(self, refine: Refine) -> None:
        super().__init__()
        self.v0, self.v1, self.v2 = refine.v0, refine.v1, refine.v2
        self.h0, self.h1, self.h2 = refine.h0, refine.h1, refine.h2
        for branch in (self.v0, self.v1, self.v2, self.h0, self.h1, self.h2):
            fuse_sequence(branch, FusedConv)
        self.post0, self.post1, self.post2 = (
            FusedConv(conv, relu=False) for conv in (refine.post0, refine.post1, refine.post2)
        )
        # One input pixel and a stride as large as the kernel: every output pixel is one dot product.
        weight, bias = refine.deconv.weight, refine.deconv.bias
        assert bias is not None
        self._channels = weight.shape[1]
        self._weight = weight.detach().permute(0, 2, 3, 1).flatten(1).contiguous()
        self._bias = bias.detach().repeat(_FIRST * _FIRST)

    def forward(self, response: Tensor, stem: Tensor, stage2: Tensor, stage3: Tensor) -> Tensor:
        """As `Refine.forward`, of windows that are channels-last."""
        x = torch.addmm(self._bias, response, self._weight).view(-1, _FIRST, _FIRST, self._channels)
        x = self.post0(F.interpolate(self.h2(x.permute(0, 3, 1, 2)).add_(self.v2(stage3)), size=(31, 31)))
        x = self.post1(F.interpolate(self.h1(x).add_(self.v1(stage2)), size=(61, 61)))
        x = self.post2(F.interpolate(self.h0(x).add_(self.v0(stem)), size=(MASK_SIZE, MASK_SIZE)))
        return x[:, 0]


def cut_windows(features: Tensor, batch: Tensor, row: Tensor, col: Tensor, *, size: int, step: int) -> Tensor:
    """What `feature_windows` cuts, [P, C, size, size] channels-last, from maps that are channels-last."""
    maps = features.permute(0, 2, 3, 1)
    side, pad = maps.shape[1], CELLS_OUTSIDE * step
    windows = maps.new_zeros((len(batch), size, size, maps.shape[3]))
    for window, sample, cell_row, cell_column in zip(windows, batch.tolist(), row.tolist(), col.tolist(), strict=True):
        top, left = cell_row * step - pad, cell_column * step - pad
        y0, y1, x0, x1 = max(top, 0), min(top + size, side), max(left, 0), min(left + size, side)
        window[y0 - top : y1 - top, x0 - left : x1 - left] = maps[sample, y0:y1, x0:x1]
    return windows.permute(0, 3, 1, 2)
