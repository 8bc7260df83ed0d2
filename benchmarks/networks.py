"""Networks to measure with, and how long their forward pass takes.

Weights are random: they change what is found, not how long it takes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import torch

from benchmarks.ceiling import count_flops
from model.engine.device import open_device
from model.network import SiamMask, SiamMaskConfig
from model.network.inference import Precision, float_type, prepare

Backbone = Literal["resnet50", "resnet18"]


def random_model(backbone: Backbone) -> SiamMask:
    """A network of random weights whose boxes stay put and whose masks fill their window, so that nothing grows."""
    torch.manual_seed(0)
    model = SiamMask(SiamMaskConfig(backbone=backbone, variant="three", refine=True)).eval()
    parameters = dict(model.named_parameters())
    for name in ("box.head.3.weight", "box.head.3.bias", "refine.post2.weight"):
        torch.nn.init.zeros_(parameters[name])
    torch.nn.init.constant_(parameters["refine.post2.bias"], 4.0)
    return model


@dataclass(frozen=True, slots=True)
class Forward:
    """A network on ready crops: windows a second, and floating-point operations a window."""

    windows_per_s: float
    flops: float

    @property
    def rate(self) -> float:
        """FLOP/s."""
        return self.windows_per_s * self.flops


def forward_rate(model: SiamMask, *, batch: int, device: str, precision: Precision, seconds: float) -> Forward:
    """The whole step on the device: features, response, and one refined mask a window."""
    step, flops = forward_pass(model, batch=batch, device=device, precision=precision)
    return _in_thread(lambda: Forward(batch * _calls_per_second(step, seconds), flops))


def backbone_rate(model: SiamMask, *, batch: int, device: str, precision: Precision, seconds: float) -> Forward:
    """The backbone and its neck alone."""
    step, flops = forward_pass(model, batch=batch, device=device, precision=precision, whole=False)
    return _in_thread(lambda: Forward(batch * _calls_per_second(step, seconds), flops))


def forward_pass(
    model: SiamMask, *, batch: int, device: str, precision: Precision, whole: bool = True
) -> tuple[Callable[[], None], float]:
    """A function that runs one pass over a batch of ready crops and waits for it, and its work a window (FLOP)."""
    network = prepare(model, device, precision)
    kind = float_type(precision)
    rng = torch.Generator().manual_seed(0)
    crop = torch.rand(batch, 3, 127, 127, generator=rng).mul(255).to(device, kind)
    search = torch.rand(batch, 3, 255, 255, generator=rng).mul(255)
    search = search.to(device, torch.uint8 if precision == "int8" else kind)
    search = search.to(memory_format=torch.channels_last)
    rows, middle = torch.arange(batch, device=device), torch.full((batch,), 12, device=device)
    with torch.inference_mode():
        template = network.template(crop)

    place = open_device(device)

    @torch.inference_mode()
    def step() -> None:
        with place.settings(exact=precision == "fp32"):
            run()

    def run() -> None:
        features = network.features(search)
        if whole:
            network.respond(template, features)
            vectors = network.mask_vectors(network.patches(features, rows, middle, middle), template.mask)
            network.refined(features, vectors, rows, middle, middle)
        if device != "cpu":
            torch.cuda.synchronize()

    return step, _flops(model, whole)


def _flops(model: SiamMask, whole: bool) -> float:
    """Floating-point operations a window, counted on the network's own layers."""
    model = model.eval()
    with torch.inference_mode():
        template = model.template(torch.zeros(1, 3, 127, 127))
    place = torch.zeros(1, dtype=torch.int64)

    def step() -> None:
        features = model.features(torch.zeros(1, 3, 255, 255))
        if whole:
            model.respond(template, features)
            vectors = model.mask_vectors(model.patches(features, place, place, place), template.mask)
            model.refined(features, vectors, place, place, place)

    return count_flops(step)


def _in_thread(function: Callable[[], Forward]) -> Forward:
    """In a thread of its own, as in the engine: a new thread starts with a fresh pool of torch's worker threads."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(function).result()


def _calls_per_second(step: Callable[[], None], seconds: float) -> float:
    for _ in range(3):
        step()
    started, steps = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        step()
        steps += 1
    return steps / (time.perf_counter() - started)
