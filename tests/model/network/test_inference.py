"""The network made ready: batch norm folded, and the precision that the hardware computes in."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from model.network import SiamMask, SiamMaskConfig
from model.network.inference import prepare, resolve_precision


def test_prepare_folds_batch_norm_and_keeps_the_original():
    torch.manual_seed(0)
    model = SiamMask(SiamMaskConfig("resnet50", "three", refine=True)).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    ready = prepare(model, "cpu", "fp32")
    assert not any(isinstance(module, nn.BatchNorm2d) for module in ready.modules())
    crop = torch.randint(0, 255, (1, 3, 127, 127)).float()
    with torch.inference_mode():
        for kernels, folded in zip(model.template(crop), ready.template(crop), strict=True):
            assert torch.allclose(kernels, folded, rtol=1e-3, atol=1e-4 * kernels.abs().max().item())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_precision_by_hardware(monkeypatch):
    def cpu(flags):
        monkeypatch.setattr(Path, "read_text", lambda path: f"processor: 0\nflags: {flags}\nflags: none\n")

    cpu("sse avx512_bf16")
    assert resolve_precision("auto", "cpu") == "bf16"
    cpu("sse avx2")
    assert resolve_precision("auto", "cpu") == "fp32"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert resolve_precision("auto", "cuda") == "fp32"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    assert resolve_precision("auto", "cuda:1") == "bf16"
    assert resolve_precision("fp16", "cpu") == "fp16"
    with pytest.raises(ValueError, match="unknown precision 'int4'"):
        resolve_precision("int4", "cpu")
