"""The losses of SiamMask for its three-branch and two-branch variants (CVPR 2019, equations 3 to 5)."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, slots=True)
class LossWeights:
    """Factors of the sum of losses: those of the published training. The paper's text has 32, 1 and 1."""

    mask: float = 36.0
    box: float = 1.2
    score: float = 1.0


PAPER_WEIGHTS = LossWeights(mask=32.0, box=1.0, score=1.0)


def mask_loss(logits: Tensor, target: Tensor, count: Tensor | None = None) -> Tensor:
    """Binary logistic loss of masks: mean over the w x h pixels of a window, then over windows (equation 3).

    Args:
        logits: [P, h, w], one window for each positive position.
        target: [P, h, w] of 0 and 1.
        count: what to divide by in place of P.

    Returns:
        Scalar; 0 when P is 0, still part of the graph.
    """
    if logits.shape[0] == 0:
        return logits.sum() * 0.0
    signs = target.to(logits.dtype) * 2 - 1
    windows = F.softplus(-signs * logits).mean(dim=(1, 2))
    return windows.mean() if count is None else windows.sum() / count


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
    found = offsets.view(target.shape).movedim(1, -1)[positive]
    return F.smooth_l1_loss(found, target.movedim(1, -1)[positive], reduction="sum") / (
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
    "box_loss",
    "logistic_score_loss",
    "mask_loss",
    "score_loss",
    "total_loss",
]
