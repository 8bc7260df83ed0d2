"""A network's outputs on a device, held against those of the CPU in fp32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from model.engine.device import open_device
from model.network import SiamMask, SiamMaskConfig
from model.network.inference import Precision, float_type, prepare

FP32_TOLERANCE = 1e-3
ROUNDING = 2.0
"""In bf16 and fp16 a device may deviate so many times as far as the CPU does in the same precision."""


def lively_model(backbone: Any, variant: Any) -> SiamMask:
    """A network of random weights, its batch norms set to what noise gives, so that its outputs follow its input."""
    torch.manual_seed(0)
    model = SiamMask(SiamMaskConfig(backbone=backbone, variant=variant, refine=variant == "three"))
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the mean of what is seen
            if name.endswith("bn3"):  # or a difference grows from each of a ResNet-50's blocks to the next
                nn.init.constant_(module.weight, 0.3)
    model.train()
    with torch.no_grad():
        crop, search = _pixels(2)
        model.respond(model.template(crop), model.features(search))
    return model.eval()


def deviation(model: SiamMask, device: str, precision: Precision, batch_sizes: Sequence[int]) -> float:
    """How far scores, boxes or masks are from the CPU's in fp32 at worst over all batch sizes: root mean squares."""
    most = max(batch_sizes)
    wanted = _outputs(model, "cpu", "fp32", most)
    worst = 0.0
    for size in batch_sizes:
        for made, reference in zip(_outputs(model, device, precision, size), wanted, strict=True):
            difference = (made - reference[:size]).square().mean().sqrt() / reference[:size].square().mean().sqrt()
            worst = max(worst, float(difference.nan_to_num(float("inf"))))
    return worst


def tolerance(model: SiamMask, precision: Precision) -> float:
    """The largest deviation that is taken for rounding."""
    return FP32_TOLERANCE if precision == "fp32" else ROUNDING * deviation(model, "cpu", precision, (2,))


@torch.inference_mode()
def _outputs(model: SiamMask, device: str, precision: Precision, batch: int) -> list[Tensor]:
    """Scores, boxes where the network has them, and masks of the middle cell, in float32 on the CPU."""
    network = prepare(model, device, precision)
    crop, search = (pixels.to(device, float_type(precision)) for pixels in _pixels(batch))
    rows, middle = torch.arange(batch, device=device), torch.full((batch,), 12, device=device)
    with open_device(device).settings(exact=precision == "fp32"):
        template = network.template(crop)
        features = network.features(search)
        response = network.respond(template, features)
        vectors = network.mask_vectors(network.patches(features, rows, middle, middle), template.mask)
        refine = network.config.refine
        mask = network.refined(features, vectors, rows, middle, middle) if refine else network.mask63(vectors)
    outputs = [response.score, *([] if response.box is None else [response.box]), mask]
    return [output.float().cpu() for output in outputs]


def _pixels(batch: int) -> tuple[Tensor, Tensor]:
    """Crops and search windows of blurred noise, the first of which are the same whatever the batch."""
    made = []
    for side in (127, 255):
        windows = [
            torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(number)).mul(255) for number in range(batch)
        ]
        made.append(torch.nn.functional.interpolate(torch.stack(windows), (side, side), mode="bilinear"))
    return made[0], made[1]
