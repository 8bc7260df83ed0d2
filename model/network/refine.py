"""Mask refinement: from one response vector and the search features to a 127x127 mask (SiamMask, figure 9)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# The first window begins this many cells before the search crop, whatever the crop's size.
CELLS_OUTSIDE = 4
MASK_SIZE = 127


class Refine(nn.Module):
    """Merge a response vector with the windows of stage 3, stage 2 and the stem that it stands for.

    ``v*`` reads a feature window (vertical), ``h*`` the mask so far (horizontal), ``post*`` follows each
    enlargement: 15 -> 31 -> 61 -> 127.
    """

    def __init__(self, stem: int, stage2: int, stage3: int, response: int = 256) -> None:
        super().__init__()
        self.v0 = _two_convs(stem, max(stem // 4, 8), 4)
        self.v1 = _two_convs(stage2, max(stage2 // 4, 32), 16)
        self.v2 = _two_convs(stage3, max(stage3 // 4, 64), 32)
        self.h2 = _two_convs(32, 32, 32)
        self.h1 = _two_convs(16, 16, 16)
        self.h0 = _two_convs(4, 4, 4)
        self.deconv = nn.ConvTranspose2d(response, 32, 15, 15)
        self.post0 = nn.Conv2d(32, 16, 3, padding=1)
        self.post1 = nn.Conv2d(16, 4, 3, padding=1)
        self.post2 = nn.Conv2d(4, 1, 3, padding=1)

    def forward(self, response: Tensor, stem: Tensor, stage2: Tensor, stage3: Tensor) -> Tensor:
        """Refine P positions.

        Args:
            response: [P, 256] response vectors of the mask branch.
            stem, stage2, stage3: [P, C, 61, 61], [P, C, 31, 31] and [P, C, 15, 15] windows about them.

        Returns:
            [P, 127, 127] logits.
        """
        x = self.deconv(response[:, :, None, None])
        x = self.post0(F.interpolate(self.h2(x) + self.v2(stage3), size=(31, 31)))
        x = self.post1(F.interpolate(self.h1(x) + self.v1(stage2), size=(61, 61)))
        x = self.post2(F.interpolate(self.h0(x) + self.v0(stem), size=(MASK_SIZE, MASK_SIZE)))
        return x[:, 0]


def feature_windows(features: Tensor, batch: Tensor, row: Tensor, col: Tensor, *, size: int, step: int) -> Tensor:
    """Cut, from a zero-padded feature map, the window that each response position stands for.

    Args:
        features: [B, C, S, S].
        batch, row, col: [P] int64, the sample and the place in the response.
        size: side of a window; step: features a response position.

    Returns:
        [P, C, size, size].
    """
    pad = CELLS_OUTSIDE * step
    padded = F.pad(features, (pad, pad, pad, pad))
    reach = torch.arange(size, device=features.device)
    rows = (row * step)[:, None] + reach
    cols = (col * step)[:, None] + reach
    cut = padded.permute(0, 2, 3, 1)[batch[:, None, None], rows[:, :, None], cols[:, None, :]]
    return cut.permute(0, 3, 1, 2)


def _two_convs(channels_in: int, hidden: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, hidden, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(hidden, channels_out, 3, padding=1),
        nn.ReLU(inplace=True),
    )
