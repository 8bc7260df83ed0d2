"""What a step shows of whether the object is there: numbers that are cheap beside the network, measured on its device.

They change nothing in the choice. `model.tracker.presence` makes a probability of them on the host.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from model.network.anchors import SCORE_SIZE, STRIDE
from model.tracker.choose import Choice
from model.tracker.crop import TEMPLATE_SIZE

APART = 8.0  # pixels of the search window beyond the chosen box's edge where a second peak is another place
LEAST_WEIGHT = 1e-3  # least weight of a feature, so that an empty mask has an appearance too
TINY_MASK = 20.0  # search-window pixels; keeps the share of ambiguous ones of a tiny mask small


class Evidence:
    """Measures search windows; its constants live on one device."""

    def __init__(self, mask_threshold: float, device: torch.device | str = "cpu") -> None:
        self._threshold = mask_threshold
        self._cells = torch.arange(SCORE_SIZE, device=device)

    def measure(self, choice: Choice, masks: Tensor, patches: Tensor) -> Tensor:
        """Measure B search windows.

        Args:
            choice: the candidates.
            masks: float32 [B, M, M], probabilities at the chosen cells, M 127 or 63.
            patches: [B, C, 7, 7], the neck's features at the chosen cells.

        Returns:
            float32 [B, MEASURES + C]: the best score at a place apart from the chosen box; the mask's area in pixels of
            the search window, the mean probability of these, and the mask's ambiguity (0 where every probability is 0
            or 1); the choice's penalty; the score and the centre, x and y as in `Choice.shift`, of the best candidate
            apart from the chosen box, avoided places included; then the mean features of the chosen place, weighted by
            the mask.
        """
        reach = choice.size / (2 * STRIDE) + APART / STRIDE
        beside = (self._cells - choice.column[:, None]).abs() > reach[:, :1]
        above = (self._cells - choice.row[:, None]).abs() > reach[:, 1:]
        apart = (beside[:, None, :] | above[:, :, None]).flatten(1)
        peak, cell = choice.seen.flatten(1).where(apart, 0).max(1)
        elsewhere = peak if choice.cells is choice.seen else choice.cells.flatten(1).where(apart, 0).amax(1)
        flat = masks.flatten(1)
        inside = (flat > self._threshold).float()
        pixels, total = inside.sum(1), flat.sum(1)
        certainty = torch.linalg.vecdot(flat, inside) / pixels.clamp(min=1)
        pixel_area = (TEMPLATE_SIZE / masks.shape[-1]) ** 2
        ambiguity = 4 * (total - torch.linalg.vecdot(flat, flat)) / (total + TINY_MASK / pixel_area)
        there = choice.centres.flatten(2).gather(2, cell[None, :, None].expand(2, -1, -1))[..., 0]
        numbers = torch.stack(
            [
                elsewhere, pixels * pixel_area, certainty, ambiguity, choice.penalty,
                peak, there[0], there[1],
            ], 1,
        )  # fmt: skip
        return torch.cat([numbers, _appearance(masks, patches)], 1)


def _appearance(masks: Tensor, patches: Tensor) -> Tensor:
    """The mean features [B, C] of a place, weighted by the part of the mask that each of them sees."""
    cells = patches.shape[-1]
    step = masks.shape[-1] // 15  # mask pixels a feature
    first = (masks.shape[-1] - cells * step) // 2
    middle = masks[:, None, first : first + cells * step, first : first + cells * step]
    weights = F.avg_pool2d(middle, step).flatten(1) + LEAST_WEIGHT
    sums = patches.float().flatten(2) @ weights[:, :, None]
    return sums[:, :, 0] / weights.sum(1)[:, None]
