"""Track-frames a second out of the engine, beside the network's forward pass alone on ready crops.

Weights are random: they change what is found, not how long it takes.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np
import torch

from model.engine import Engine
from model.network import SiamMask, SiamMaskConfig
from model.prepare import Precision, prepare
from model.tracker import PRESETS

Backbone = Literal["resnet50", "resnet18"]


def random_model(backbone: Backbone) -> SiamMask:
    """A network of random weights whose boxes stay put, so that nothing grows without bound."""
    torch.manual_seed(0)
    model = SiamMask(SiamMaskConfig(backbone=backbone, variant="three", refine=True)).eval()
    parameters = dict(model.named_parameters())
    for name in ("box.head.3.weight", "box.head.3.bias"):
        torch.nn.init.zeros_(parameters[name])
    return model


def engine_rate(model: SiamMask, frames: list[np.ndarray], *, tracks: int, device: str, precision: Precision) -> float:
    """Track-frames a second: every track is stepped once on each frame, crops included, rows of the tables not.

    Args:
        model: the network.
        frames: uint8 [H, W, 3] BGR, one size; the first two warm the engine up.
        tracks: tracks alive, all in one batch.
    """
    height, width = frames[0].shape[:2]
    boxes = np.random.default_rng(0).uniform((0.1, 0.1), (0.7, 0.7), (tracks, 2)) * (width, height)
    with Engine(model, PRESETS["vot"], device=device, precision=precision, max_tracks=tracks) as engine:
        starts = [engine.init(frames[0], (x, y, width / 6, height / 6)) for x, y in boxes]
        alive = [start.result()[0] for start in starts]
        for frame in frames[:2]:
            _step(engine, alive, frame)
        started = time.perf_counter()
        for frame in frames[2:]:
            _step(engine, alive, frame)
        return tracks * (len(frames) - 2) / (time.perf_counter() - started)


def forward_rate(model: SiamMask, *, tracks: int, device: str, precision: Precision, seconds: float) -> float:
    """Track-frames a second of the network alone: features, response and one refined mask a track.

    In a thread of its own, as in the engine: a new thread starts with a fresh pool of torch's worker threads.
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(_forward_rate, model, tracks, device, precision, seconds).result()


def _forward_rate(model: SiamMask, tracks: int, device: str, precision: Precision, seconds: float) -> float:
    network = prepare(model, device, precision)
    kind = next(network.parameters()).dtype
    rng = torch.Generator().manual_seed(0)
    crop = torch.rand(tracks, 3, 127, 127, generator=rng).mul(255).to(device, kind)
    search = torch.rand(tracks, 3, 255, 255, generator=rng).mul(255).to(device, kind)
    batch, middle = torch.arange(tracks, device=device), torch.full((tracks,), 12, device=device)

    def step() -> None:
        features = network.features(search)
        response = network.respond(template, features)
        network.refined(features, response.mask, batch, middle, middle)
        if device == "cuda":
            torch.cuda.synchronize()

    with torch.inference_mode():
        template = network.template(crop)
        for _ in range(3):
            step()
        started, steps = time.perf_counter(), 0
        while time.perf_counter() - started < seconds:
            step()
            steps += 1
    return tracks * steps / (time.perf_counter() - started)


def _step(engine: Engine, alive: list, frame: np.ndarray) -> None:
    for future in [engine.step(track, frame) for track in alive]:
        future.result()
