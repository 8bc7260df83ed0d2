"""The losses against values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from model.training.losses import (
    PAPER_WEIGHTS,
    LossWeights,
    beside_outline,
    box_loss,
    dice_loss,
    logistic_score_loss,
    mask_loss,
    score_loss,
    total_loss,
)

LN2 = math.log(2)


def softplus(value: float) -> float:
    return math.log1p(math.exp(value))


def test_mask_loss_is_the_mean_over_pixels_then_over_windows() -> None:
    logits = torch.tensor([[[2.0, -1.0], [0.0, 3.0]], [[0.0, 0.0], [0.0, 0.0]]])
    target = torch.tensor([[[1, 0], [1, 0]], [[1, 1], [0, 0]]])
    first = (softplus(-2.0) + softplus(-1.0) + LN2 + softplus(3.0)) / 4
    assert mask_loss(logits, target).item() == pytest.approx((first + LN2) / 2, rel=1e-6)


def test_mask_loss_reads_positive_windows_only_and_none_is_zero() -> None:
    logits = torch.zeros(0, 63, 63, requires_grad=True)
    loss = mask_loss(logits, torch.zeros(0, 63, 63))
    loss.backward()
    assert loss.item() == 0.0


def test_mask_loss_does_not_overflow() -> None:
    logits = torch.tensor([[[1000.0, -1000.0]]])
    assert mask_loss(logits, torch.tensor([[[1, 0]]])).item() == pytest.approx(0.0)
    assert mask_loss(logits, torch.tensor([[[0, 1]]])).item() == pytest.approx(1000.0)


def test_dice_is_one_without_overlap_and_nothing_where_masks_agree() -> None:
    target = torch.tensor([[[1.0, 1.0], [0.0, 0.0]], [[1.0, 1.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    sure = torch.tensor([[[9e3, 9e3], [-9e3, -9e3]], [[-9e3, -9e3], [9e3, 9e3]], [[-9e3, -9e3], [-9e3, -9e3]]])
    assert dice_loss(sure, target).tolist() == pytest.approx([0.0, 1 - 1 / 5, 0.0])
    undecided = torch.zeros(1, 2, 2)
    assert dice_loss(undecided, target[:1]).item() == pytest.approx(1 - (2 * 1 + 1) / (2 + 2 + 1))
    assert mask_loss(undecided, target[:1], dice=0.5).item() == pytest.approx(LN2 + 0.5 * 0.4)


def test_pixels_beside_the_outline_count_more() -> None:
    target = torch.zeros(1, 12, 12)
    target[:, :, :6] = 1
    near = torch.zeros(1, 12, 12)
    near[:, :, 4:8] = 1
    assert torch.equal(beside_outline(target), near)
    logits = torch.where(near == 1, 1.0, 3.0) * (target * 2 - 1)  # right everywhere, less sure beside the outline
    close, far = softplus(-1.0), softplus(-3.0)
    wanted = (48 * 5 * close + 96 * far) / (48 * 5 + 96)
    assert mask_loss(logits, target, outline=4.0).item() == pytest.approx(wanted, rel=1e-6)


def test_score_loss_weighs_positives_and_negatives_half_each() -> None:
    # One cell, k = 2 anchors on a 1x2 grid; channels are (class, anchor).
    score = torch.tensor([[[[0.0, 1.0]], [[0.0, 0.0]], [[2.0, 0.0]], [[0.0, -3.0]]]])
    classes = torch.tensor([[[[1, 0]], [[-1, 0]]]])
    positive = softplus(-(2.0 - 0.0))
    negatives = (softplus(0.0 - 1.0) + softplus(-3.0 - 0.0)) / 2
    assert score_loss(score, classes).item() == pytest.approx(0.5 * positive + 0.5 * negatives, rel=1e-6)


def test_score_loss_equals_cross_entropy() -> None:
    torch.manual_seed(0)
    score = torch.randn(2, 10, 4, 4)
    classes = torch.randint(0, 2, (2, 5, 4, 4))
    logits = score.view(2, 2, 5, 4, 4)
    per_anchor = torch.nn.functional.cross_entropy(logits, classes, reduction="none")
    wanted = 0.5 * per_anchor[classes == 1].mean() + 0.5 * per_anchor[classes == 0].mean()
    assert score_loss(score, classes).item() == pytest.approx(wanted.item(), rel=1e-5)


def test_a_pair_without_positives_gives_half_the_negative_loss() -> None:
    classes = torch.tensor([[[[0, -1]]]])
    assert score_loss(torch.zeros(1, 2, 1, 2), classes).item() == pytest.approx(0.5 * LN2)


def test_logistic_score_loss_of_two_branches() -> None:
    score = torch.tensor([[[[1.5, -0.5, 9.0]]]])
    classes = torch.tensor([[[[1, 0, -1]]]])
    wanted = 0.5 * softplus(-1.5) + 0.5 * softplus(-0.5)
    assert logistic_score_loss(score, classes).item() == pytest.approx(wanted, rel=1e-6)


def test_box_loss_is_smooth_l1_over_positive_anchors() -> None:
    # Two anchors on one cell; the second is negative, so its huge error does not count.
    offsets = torch.zeros(1, 8, 1, 1)
    offsets[0, :, 0, 0] = torch.tensor([0.5, 99.0, 0.0, 99.0, 3.0, 99.0, -0.2, 99.0])
    target = torch.zeros(1, 4, 2, 1, 1)
    classes = torch.tensor([1, 0]).view(1, 2, 1, 1)
    wanted = 0.5 * 0.5**2 + 0.0 + (3.0 - 0.5) + 0.5 * 0.2**2
    assert box_loss(offsets, target, classes).item() == pytest.approx(wanted, rel=1e-6)
    assert box_loss(offsets, target, torch.zeros_like(classes)).item() == 0.0


def test_totals_of_both_variants() -> None:
    mask, score, box = torch.tensor(0.5), torch.tensor(0.25), torch.tensor(2.0)
    assert total_loss(LossWeights(), mask=mask, score=score, box=box).item() == pytest.approx(36 * 0.5 + 0.25 + 2.4)
    assert total_loss(PAPER_WEIGHTS, mask=mask, score=score, box=box).item() == pytest.approx(32 * 0.5 + 0.25 + 2.0)
    assert total_loss(PAPER_WEIGHTS, mask=mask, score=score).item() == pytest.approx(32 * 0.5 + 0.25)
