"""One training step: a batch through the network to the weighted sum of its losses."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from model.network import Response, SiamMask, Template, vectors_at
from model.network.heads import depthwise_correlation
from model.training.config import TrainingConfig
from model.training.data.batches import Batch
from model.training.losses import LossWeights, box_loss, logistic_score_loss, mask_loss, score_loss, total_loss


class StepLosses(NamedTuple):
    """The parts of a step's loss, scalars: total and unweighted score, box, base mask and refined mask."""

    total: Tensor
    score: Tensor
    box: Tensor
    mask: Tensor
    fine: Tensor


class LossCounts(NamedTuple):
    """What the parts of a loss are divided by, scalars of float32: score positives and negatives, masks, fine masks.

    With several workers these are means over the workers, so that the mean of their gradients is the gradient of
    the whole batch.
    """

    positive: Tensor
    negative: Tensor
    base: Tensor
    fine: Tensor


def batch_counts(batch: Batch, negatives: Tensor | None) -> Tensor:
    """The values of `LossCounts` of one batch, float32 [4]."""
    classes = batch.classes
    if negatives is not None:
        classes = torch.cat([classes, _all_negative(classes)[negatives >= 0]])
    numbers = [(classes == 1).sum(), (classes == 0).sum(), torch.tensor(len(batch.base)), torch.tensor(len(batch.fine))]
    return torch.stack(numbers).float()


def batch_losses(
    model: SiamMask,
    batch: Batch,
    weights: LossWeights,
    *,
    negatives: Tensor | None = None,
    counts: LossCounts | None = None,
    precision: str = "bf16",
) -> StepLosses:
    """Losses of a batch on the model's device.

    Args:
        negatives: int64 [B], a template of another group for each search window (see `negative_partners`), or
            -1; those pairs add negatives to the score loss at no cost of the backbone.
        counts: what to divide the losses by, in place of this batch's own numbers.
        precision: `bf16` computes under autocast to bfloat16, `fp32` does not.
    """
    device = model.device
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        features = model.features(_pixels(batch.search, device))
        template = model.template(_pixels(batch.template, device))
        response, stranger = _respond(model, template, features.neck, negatives)
        mask_response = model.mask_response(template, features)
        sample, row, column = batch.cells.to(device).unbind(1)
        base = model.mask63_in_training(mask_response, sample, row, column)
        fine = None
        if model.refine is not None:
            sample, row, column = batch.fine_cells.to(device).unbind(1)
            fine = model.refined(features, vectors_at(mask_response, sample, row, column), sample, row, column)
    classes = batch.classes.to(device)
    scores = response.score.float()
    if stranger is not None and negatives is not None:
        used = (negatives >= 0).to(device)
        scores = torch.cat([scores, stranger.float()[used]])
        classes = torch.cat([classes, _all_negative(classes)[used]])
    balance = None if counts is None else torch.stack([counts.positive, counts.negative])
    score = (score_loss if model.anchors_per_cell else logistic_score_loss)(scores, classes, balance)
    base_loss = _mask_loss(weights, base, batch.base, counts and counts.base)
    zero = base_loss.new_zeros(())
    fine_loss = zero if fine is None else _mask_loss(weights, fine, batch.fine, counts and counts.fine)
    box = None
    if response.box is not None:
        truth = batch.offsets.to(device), batch.classes.to(device)
        box = box_loss(response.box.float(), *truth, counts and counts.positive)
    total = total_loss(weights, mask=base_loss + fine_loss, score=score, box=box)
    return StepLosses(total, score, zero if box is None else box, base_loss, fine_loss)


def refine_losses(
    model: SiamMask, batch: Batch, weights: LossWeights, *, counts: LossCounts | None = None, precision: str = "bf16"
) -> StepLosses:
    """The loss of the refined masks alone; only the refinement gets gradients. Arguments as for `batch_losses`."""
    device = model.device
    sample, row, column = batch.fine_cells.to(device).unbind(1)
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        with torch.no_grad():
            features = model.features(_pixels(batch.search, device))
            kernel = model.mask.kernel(model.template_features(_pixels(batch.template, device)))
            response = model.mask.correlate(kernel, features.neck)
        fine = model.refined(features, vectors_at(response, sample, row, column), sample, row, column)
    loss = _mask_loss(weights, fine, batch.fine, counts and counts.fine)
    zero = loss.new_zeros(())
    return StepLosses(weights.mask * loss, zero, zero, zero, loss)


class TrainingStep(nn.Module):
    """The losses of a batch as one module, so that `DistributedDataParallel` can wrap network and losses."""

    def __init__(self, model: SiamMask, config: TrainingConfig) -> None:
        super().__init__()
        self.model, self._config = model, config

    def forward(self, batch: Batch, negatives: Tensor | None, counts: LossCounts | None) -> StepLosses:
        weights, precision = self._config.weights, self._config.precision
        if self._config.stage == "refine":
            return refine_losses(self.model, batch, weights, counts=counts, precision=precision)
        return batch_losses(self.model, batch, weights, negatives=negatives, counts=counts, precision=precision)


def negative_partners(group: Tensor, generator: torch.Generator) -> Tensor:
    """For each of B samples another sample of another group, int64 [B]; -1 where the one drawn has the same group."""
    count = len(group)
    if count < 2:
        return torch.full((count,), -1)
    turn = int(torch.randint(1, count, (1,), generator=generator))
    partner = torch.arange(count).roll(turn)
    return torch.where(group[partner] == group, -1, partner)


def _respond(
    model: SiamMask, template: Template, neck: Tensor, negatives: Tensor | None
) -> tuple[Response, Tensor | None]:
    """The response of matching pairs, and the score [B, 2k, 25, 25] of the search windows to other templates."""
    searched = model.score.conv_search(neck)
    matching = depthwise_correlation(searched, template.score)
    if negatives is None:
        score, stranger = model.score.head(matching), None
    else:
        kernels = template.score[negatives.clamp(min=0).to(neck.device)]
        both = model.score.head(torch.cat([matching, depthwise_correlation(searched, kernels)]))
        score, stranger = both.split(len(neck))
    box = None
    if model.box is not None and template.box is not None:
        box = model.box.head(model.box.correlate(template.box, neck))
    return Response(score, box), stranger


def _mask_loss(weights: LossWeights, logits: Tensor, target: Tensor, count: Tensor | None) -> Tensor:
    target = target.to(logits.device)
    return mask_loss(logits.float(), target, count, dice=weights.dice, outline=weights.outline)


def _all_negative(classes: Tensor) -> Tensor:
    """Labels of windows that do not hold the template's object: what was positive, and one in ten of the rest."""
    spread = torch.arange(classes[0].numel(), device=classes.device).view(classes.shape[1:]) % 10 == 0
    return torch.where((classes == 1) | ((classes == 0) & spread), 0, -1).to(classes.dtype)


def _pixels(crops: Tensor, device: torch.device) -> Tensor:
    """uint8 [B, H, W, 3] to float [B, 3, H, W], kept channels-last."""
    return crops.to(device, non_blocking=True).permute(0, 3, 1, 2).float()
