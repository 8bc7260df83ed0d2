"""Where nothing may depend on load: each track by itself, on one thread, by nothing that was measured."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch

from model.engine import Engine, TrackOutput
from model.engine.device import Cuda, open_device
from model.tracker import PRESETS
from tests.model.engine.fake_cuda import FakeCuda, cuda
from tests.model.engine.tracks import BOXES, cpu_threads

__all__ = ["cuda"]


def track(engine: Engine, frames: list[np.ndarray], box: Any) -> list[TrackOutput]:
    track, first = engine.init(frames[0], box).result(timeout=60)
    return [first, *(engine.step(track, frame).result(timeout=60) for frame in frames[1:])]


def equal(made: list[TrackOutput], wanted: list[TrackOutput]) -> bool:
    return all(
        one.score == other.score
        and np.array_equal(one.box, other.box)
        and np.array_equal(one.mask_probability, other.mask_probability)
        and one.presence == other.presence
        for one, other in zip(made, wanted, strict=True)
    )


@pytest.mark.parametrize("preset", ["vot", "robust"])
def test_a_track_among_others_is_to_the_bit_what_it_is_alone(model, frames, preset):
    """On threads that are free, on threads that are taken, and with other batches asked for."""
    boxes = BOXES[:4]
    with cpu_threads(1), Engine(model, PRESETS[preset], deterministic=True) as engine:
        wanted = [track(engine, frames, box) for box in boxes]
    with cpu_threads(2), Engine(model, PRESETS[preset], deterministic=True, max_tracks=8) as engine:
        with ThreadPoolExecutor(len(boxes)) as pool:
            made = list(pool.map(lambda box: track(engine, frames, box), boxes))
        alone = track(engine, frames, boxes[0])
        assert engine.stats().mean_batch == 1
    assert all(map(equal, made, wanted)) and equal(alone, wanted[0])


def test_a_runner_has_one_thread_also_where_others_are_free(model, frames, monkeypatch):
    seen = []
    step = torch.Tensor.sigmoid

    def noted(tensor: torch.Tensor) -> torch.Tensor:
        seen.append(torch.get_num_threads())
        return step(tensor)

    monkeypatch.setattr(torch.Tensor, "sigmoid", noted)
    for deterministic, threads in ((True, 1), (False, 2)):
        seen.clear()
        with cpu_threads(2), Engine(model, PRESETS["vot"], deterministic=deterministic) as engine:
            track(engine, frames, BOXES[0])
        assert max(seen) == threads


def test_nothing_is_measured_on_a_gpu(model, cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch):
    opened: list[dict[str, Any]] = []

    def noted(*_: Any, **options: Any) -> FakeCuda:
        opened.append(options)
        return cuda

    def tried(*_: Any, **__: Any) -> Any:
        raise AssertionError("no way is tried")

    monkeypatch.setattr("model.engine.stepper.open_device", noted)
    monkeypatch.setattr("model.engine.engine.fastest_stepper", tried)
    with Engine(model, PRESETS["vot"], device="cuda", deterministic=True) as engine:
        assert engine.trials == []
    assert opened == [{"measures": False}]
    assert open_device("cuda:1", measures=False) == Cuda(torch.device("cuda:1"), measures=False)
