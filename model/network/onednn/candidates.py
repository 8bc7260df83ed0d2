"""Scores and boxes of the candidate windows on a CPU, a search window at a time.

The correlation of a window with its template is a depth-wise convolution with as many groups as channels. One such
convolution for a whole batch (groups of batch x channels) is a slow form of it: its layout is not the one that the
convolutions before and after it use. Window by window the map stays channels-last and in the core's own cache.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.network.fused import fuse_sequence
from model.network.heads import CorrelationBranch
from model.network.onednn.convs import FusedConv


class FusedBranch(nn.Module):
    """What one `CorrelationBranch` answers, with its weights; its batch norm is folded."""

    def __init__(self, branch: CorrelationBranch) -> None:
        super().__init__()
        self._embedding, self.head = branch.conv_search, branch.head
        fuse_sequence(self._embedding, FusedConv)
        fuse_sequence(self.head, FusedConv)

    def forward(self, kernels: Tensor, neck: Tensor) -> Tensor:
        """Kernels [B, C, 5, 5] and features [B, C, 31, 31] -> [B, outputs, 25, 25]."""
        return correlate_each(self._embedding(neck), kernels, self.head)


def correlate_each(embedded: Tensor, kernels: Tensor, head: nn.Module) -> Tensor:
    """Embedded features [B, C, 29, 29] with kernels [B, C, 5, 5], window by window, through a head of 1x1 layers."""
    groups = kernels.shape[1]
    responses = (F.conv2d(embedded[i : i + 1], kernel.unsqueeze(1), groups=groups) for i, kernel in enumerate(kernels))
    return torch.cat([head(response) for response in responses])
