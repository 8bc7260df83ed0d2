"""The losses of SiamMask for its three-branch and two-branch variants (CVPR 2019, equations 3 to 5)."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, slots=True)
class LossWeights:
    """Factors of the sum of losses: those of the published training. The paper's text has 32, 1 and 1.

    Attributes:
        dice: share of 1 - Dice of each window (V-Net, 3DV 2016) that is added to its logistic loss; 0 as published.
        outline: what a pixel beside the mask's outline counts more than others in the logistic loss; 0 as published.
    """

    mask: float = 36.0
    box: float = 1.2
    score: float = 1.0
    dice: float = 0.0
    outline: float = 0.0


PAPER_WEIGHTS = LossWeights(mask=32.0, box=1.0, score=1.0)


def mask_loss(
    logits: Tensor, target: Tensor, count: Tensor | None = None, *, dice: float = 0.0, outline: float = 0.0
) -> Tensor:
    """Binary logistic loss of masks: mean over the w x h pixels of a window, then over windows (equation 3).

    Args:
        logits: [P, h, w], one window for each positive position.
        target: [P, h, w] of 0 and 1.
        count: what to divide by in place of P.
        dice, outline: as in `LossWeights`.

    Returns:
        Scalar; 0 when P is 0, still part of the graph.
    """
    if logits.shape[0] == 0:
        return logits.sum() * 0.0
    truth = target.to(logits.dtype)
    pixels = F.softplus((1 - truth * 2) * logits)
    if outline:
        weight = 1 + outline * beside_outline(truth)
        windows = (pixels * weight).sum(dim=(1, 2)) / weight.sum(dim=(1, 2))
    else:
        windows = pixels.mean(dim=(1, 2))
    if dice:
        windows = windows + dice * dice_loss(logits, truth)
    return windows.mean() if count is None else windows.sum() / count


def dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """1 - 2 sum(p t) / (sum(p) + sum(t)) of windows [P, h, w] with p the sigmoid of the logits: [P] (V-Net, 3DV 2016).

    One is added above and below, so that an empty window with an empty answer costs nothing.
    """
    probability = logits.sigmoid()
    shared = (probability * target).sum(dim=(1, 2))
    return 1 - (2 * shared + 1) / (probability.sum(dim=(1, 2)) + target.sum(dim=(1, 2)) + 1)


def beside_outline(target: Tensor) -> Tensor:
    """1 where the 5x5 pixels about a pixel of a mask [P, h, w] of 0 and 1 hold both values, else 0."""
    mask = target[:, None]
    spread = F.max_pool2d(mask, 5, stride=1, padding=2) + F.max_pool2d(1 - mask, 5, stride=1, padding=2)
    return spread[:, 0] - 1


def box_loss(offsets: Tensor, target: Tensor, classes: Tensor, count: Tensor | None = None) -> Tensor:
    """Smooth L1 of dx, dy, dw, dh, summed over the four and averaged over positive anchors.

    Args:
        offsets: [B, 4k, H, W] of the network, viewed as [B, 4, k, H, W].
        target: [B, 4, k, H, W].
        classes: [B, k, H, W]; 1 marks the positive anchors.
        count: what to divide by in place of their number.
    """
    positive = classes == 1
    found_here = positive.sum()
    if found_here == 0:
        return offsets.sum() * 0.0
    predicted = offsets.view(target.shape).movedim(1, -1)[positive]
    return F.smooth_l1_loss(predicted, target.movedim(1, -1)[positive], reduction="sum") / (
        found_here if count is None else count
    )


def score_loss(score: Tensor, classes: Tensor, counts: Tensor | None = None) -> Tensor:
    """Cross-entropy of object against background, positives and negatives weighted half each.

    Args:
        score: [B, 2k, H, W] logits, viewed as [B, 2, k, H, W] with class 1 the object.
        classes: [B, k, H, W] of 1 object, 0 background, -1 left out.
        counts: [2], what to divide by in place of the numbers of positives and of negatives.
    """
    batch, anchors, height, width = classes.shape
    logits = score.view(batch, 2, anchors, height, width)
    return _balanced(F.softplus(logits[:, 0] - logits[:, 1]), F.softplus(logits[:, 1] - logits[:, 0]), classes, counts)


def logistic_score_loss(score: Tensor, classes: Tensor, counts: Tensor | None = None) -> Tensor:
    """The two-branch score loss, log(1 + exp(-y s)), positives and negatives weighted half each (SiamFC).

    Args:
        score: [B, 1, H, W] logits.
        classes: [B, 1, H, W] of 1 object, 0 background, -1 left out.
        counts: as for `score_loss`.
    """
    return _balanced(F.softplus(-score), F.softplus(score), classes, counts)


def _balanced(as_object: Tensor, as_background: Tensor, classes: Tensor, counts: Tensor | None) -> Tensor:
    """Half the mean of `as_object` over positives and half that of `as_background` over negatives."""
    total = as_object.sum() * 0.0
    for number, (value, loss) in enumerate(((1, as_object), (0, as_background))):
        chosen = classes == value
        if bool(chosen.any()):
            mean = loss[chosen].mean() if counts is None else loss[chosen].sum() / counts[number]
            total = total + 0.5 * mean
    return total


def total_loss(weights: LossWeights, *, mask: Tensor, score: Tensor, box: Tensor | None = None) -> Tensor:
    """The weighted sum; without `box` that of the two-branch variant."""
    total = weights.mask * mask + weights.score * score
    return total if box is None else total + weights.box * box


__all__ = [
    "PAPER_WEIGHTS",
    "LossWeights",
    "beside_outline",
    "box_loss",
    "dice_loss",
    "logistic_score_loss",
    "mask_loss",
    "score_loss",
    "total_loss",
]
