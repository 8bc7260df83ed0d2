"""A network that is cheap and sees its input, a few frames for it, and tracks through them one by one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from model.engine import Engine
from model.network import SiamMask, SiamMaskConfig
from model.tracker import PRESETS

FRAME = (120, 160)


class Glance(nn.Module):
    """Stands in for a backbone at a hundredth of its cost: maps of a ResNet-18's shapes, straight from the pixels."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.stage2 = nn.Conv2d(64, 64, 3, 2, 1)
        self.stage3 = nn.Conv2d(64, 128, 3, 2)
        self.stage4 = nn.Conv2d(128, 256, 1)
        self.layer1 = self.layer2 = self.layer3 = nn.ModuleList()  # no blocks to fuse

    def forward(self, x):
        stem = self.bn1(self.conv1(x)).relu()
        stage2 = self.stage2(stem).relu()
        stage3 = self.stage3(stage2).relu()
        return stem, stage2, stage3, self.stage4(stage3).relu()


def lively(variant="three", refine=True) -> SiamMask:
    """A network whose answers depend on what it sees: random, at scales that keep the signal alive."""
    torch.manual_seed(0)
    model = SiamMask(SiamMaskConfig("resnet18", variant, refine))
    model.backbone = Glance()  # type: ignore[assignment]
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            gain = 0.02 if name == "backbone.conv1" else 0.004 if "conv_kernel" in name else 1.0
            nn.init.normal_(module.weight, std=gain * (2 / module.weight[0].numel()) ** 0.5)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    if model.box is not None:
        nn.init.normal_(model.box.head[3].weight, std=0.01)
    else:
        nn.init.normal_(model.score.head[3].weight, std=0.01)
    return model.eval()


def texture() -> list[np.ndarray]:
    """Three frames of a drifting texture."""
    rng = np.random.default_rng(0)
    wide = cv2.resize(rng.integers(0, 255, (20, 30, 3)).astype(np.uint8), (240, 160), interpolation=cv2.INTER_CUBIC)
    return [np.ascontiguousarray(wide[2 * i : 2 * i + FRAME[0], 3 * i : 3 * i + FRAME[1]]) for i in range(3)]


BOXES = [(20 + 6 * (i % 5), 15 + 9 * (i // 5), 24 + i, 40 - i) for i in range(16)]


def alone(model, frames, boxes, **options):
    """Outputs of each box tracked by itself, one request at a time."""
    with Engine(model, PRESETS["vot"], max_tracks=1, **options) as engine:
        paths = []
        for box in boxes:
            track, first = engine.init(frames[0], box).result()
            paths.append([first, *(engine.step(track, frame).result() for frame in frames[1:])])
        return paths


def same(made, wanted):
    for output, other in zip(made, wanted, strict=True):
        assert output.score == pytest.approx(other.score, abs=1e-4)
        assert output.box == pytest.approx(other.box, abs=2e-3)
        assert output.window == pytest.approx(other.window, abs=2e-3)
        assert np.abs(output.mask_probability - other.mask_probability).max() < 1e-3
        assert output.presence == pytest.approx(other.presence, abs=5e-3)


@contextlib.contextmanager
def cpu_threads(number: int) -> Iterator[None]:
    """Torch with this many threads in the calling thread; an engine made there takes them for its own."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
