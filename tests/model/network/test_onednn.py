"""Fused convolutions answer what the network's own layers do."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from model.network import SiamMask
from model.network.inference import prepare
from model.network.onednn import network as onednn_network
from model.network.onednn.convs import FusedConv
from model.network.onednn.pooling import StemMaxPool
from tests.model.network.answers import CONFIGS, answers, plain_network


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"{config.backbone}-{config.variant}-{config.refine}")
def test_fused_network_agrees_with_its_own_layers_at_every_batch_size(config):
    torch.manual_seed(0)
    model = SiamMask(config).eval()
    fused, plain = prepare(model, "cpu", "fp32"), plain_network(model)
    assert any(isinstance(module, FusedConv) for module in fused.modules())
    for batch in (2, 1, 3, 8):  # weights are packed for the first
        for ours, theirs in zip(answers(fused, batch), answers(plain, batch), strict=True):
            assert (ours - theirs).abs().max() <= 5e-6 * theirs.abs().max()


def test_threads_that_meet_a_new_convolution_together_pack_it_once(monkeypatch):
    pack, packed, together = torch.ops.mkldnn._reorder_convolution_weight, [], threading.Barrier(3)

    def slow(*arguments):
        packed.append(arguments)
        time.sleep(0.1)
        return pack(*arguments)

    monkeypatch.setattr(torch.ops.mkldnn, "_reorder_convolution_weight", slow)
    torch.manual_seed(0)
    conv = torch.nn.Conv2d(16, 32, 3).to(memory_format=torch.channels_last).requires_grad_(False)
    x = torch.rand(1, 16, 9, 9).to(memory_format=torch.channels_last)
    fused, wanted = FusedConv(conv, relu=True), conv(x).relu()

    @torch.inference_mode()
    def use(_):
        together.wait(20)
        return fused(x)

    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(use, range(3)))
    assert len(packed) == 1
    for answer in answers:
        assert torch.allclose(answer, wanted, atol=1e-6)


def test_fused_bfloat16_rounds_no_more_than_the_layers_do():
    torch.manual_seed(0)
    model = SiamMask(CONFIGS[0]).eval()
    exact = answers(plain_network(model), 2)
    plain = answers(plain_network(model, torch.bfloat16), 2, torch.bfloat16)
    fused = answers(prepare(model, "cpu", "bf16"), 2, torch.bfloat16)
    for ours, theirs, right in zip(fused, plain, exact, strict=True):
        assert (ours - right).pow(2).mean() <= 1.2 * (theirs - right).pow(2).mean()


def test_network_is_left_as_it_is_where_onednn_lacks_the_operators(monkeypatch):
    monkeypatch.setattr(onednn_network, "available", lambda dtype: False)
    torch.manual_seed(0)
    model = SiamMask(CONFIGS[0]).eval()
    unfused = prepare(model, "cpu", "fp32")
    assert not any(isinstance(module, FusedConv) for module in unfused.modules())
    for ours, theirs in zip(answers(unfused, 1), answers(plain_network(model), 1), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("side", [125, 61, 9])
def test_pooling_by_integers_is_that_of_torch_to_the_bit(side):
    generator = torch.Generator().manual_seed(side)
    x = torch.randn(3, 16, side, side, generator=generator).relu().bfloat16().to(memory_format=torch.channels_last)
    assert torch.equal(StemMaxPool()(x), torch.nn.functional.max_pool2d(x, 3, 2, 1))
    assert StemMaxPool()(x).is_contiguous(memory_format=torch.channels_last)
