"""Layers put together for cuDNN are those of the network: the right weights, bias, sum and ReLU, in the right order."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from model.network import SiamMask, SiamMaskConfig
from model.network.cudnn import CudnnConv, fused_copy
from tests.model.network.answers import CONFIGS, answers, plain_network
from tests.model.network.fake_cudnn import cudnn

__all__ = ["cudnn"]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"{config.backbone}-{config.variant}-{config.refine}")
def test_the_copy_answers_what_the_network_does(config: SiamMaskConfig, cudnn: list[str]) -> None:
    torch.manual_seed(0)
    network = plain_network(SiamMask(config))
    fused = fused_copy(network)
    for batch in (1, 3):
        for ours, theirs in zip(answers(fused, batch), answers(network, batch), strict=True):
            assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()
    blocks = sum(len(stage) for stage in (network.backbone.layer1, network.backbone.layer2, network.backbone.layer3))
    assert cudnn.count("add") == 2 * 2 * blocks, "template and window, two batches"
    assert cudnn.count("relu") > cudnn.count("add")


def test_the_network_stays_as_it_is_and_the_weights_are_there_once(cudnn: list[str]) -> None:
    torch.manual_seed(0)
    network = plain_network(SiamMask(CONFIGS[0]))
    before = answers(network, 1)
    fused = fused_copy(network)
    assert {id(each) for each in fused.parameters()} <= {id(each) for each in network.parameters()}
    assert not any(isinstance(module, CudnnConv) for module in network.modules())
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(answers(network, 1), before, strict=True))
    assert not cudnn


def test_relu_and_sum_are_done_only_where_they_are(cudnn: list[str]) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 4, 3, stride=2, padding=1).requires_grad_(False)
    x, residual = torch.randn(2, 4, 9, 9), torch.randn(2, 4, 5, 5)
    for relu, second, wanted in (
        (False, None, conv(x)),
        (True, None, conv(x).relu()),
        (False, residual, conv(x) + residual),
        (True, residual, (conv(x) + residual).relu()),
    ):
        assert torch.allclose(CudnnConv(conv, relu=relu)(x, second), wanted, atol=1e-6)
    assert cudnn == ["relu", "add"]


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_cudnn_has_the_operators(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(64, 64, 3, padding=1).requires_grad_(False).to("cuda", dtype)
    x, residual = (torch.randn(2, 64, 31, 31).to("cuda", dtype) for _ in range(2))
    for second, wanted in ((None, conv(x).relu()), (residual, (conv(x) + residual).relu())):
        made = CudnnConv(conv, relu=True)(x, second)
        assert (made - wanted).abs().max() <= 0.02 * wanted.abs().max()
