"""A step that is recorded answers as the plain one, and where it cannot be the plain one does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from model.engine import Engine
from model.engine.recorded import RecordedStep
from model.engine.stepper import StepInput, Stepper
from model.engine.ways import WAYS
from model.tracker import PRESETS, TrackState
from tests.model.engine.fake_cuda import FakeCuda, cuda
from tests.model.engine.tracks import BOXES, same

__all__ = ["cuda"]
pytestmark = pytest.mark.usefixtures("one_runner")


@pytest.mark.parametrize("preset", ["vot", "robust"])
def test_a_recorded_step_answers_as_the_plain_one(model, cuda, frames, monkeypatch, preset):
    """Batches of two sizes, two in flight, with and without places to avoid."""

    def paths(step: Any) -> list[list]:
        monkeypatch.setattr("model.engine.engine.fastest_stepper", lambda stepper, *_, **__: (step(stepper), []))
        with Engine(model, PRESETS[preset], device="cuda", max_tracks=2) as engine:
            tracks = [future.result()[0] for future in [engine.init(frames[0], box) for box in BOXES[:5]]]
            outputs: list[list] = [[] for _ in tracks]
            for frame in frames[1:]:
                for path, future in zip(outputs, [engine.step(track, frame) for track in tracks], strict=True):
                    path.append(future.result(timeout=60))
            return outputs

    recorded = paths(lambda stepper: stepper.running(WAYS["recorded"](stepper)))
    for path, other in zip(recorded, paths(lambda stepper: stepper), strict=True):
        same(path, other)


def _input(stepper: Stepper) -> StepInput:
    (kernels,) = stepper.templates([np.zeros((127, 127, 3), np.uint8)])
    return StepInput(kernels, np.zeros((255, 255, 3), np.uint8), TrackState(9, 9, 9, 9), 1.0, (20, 20), hold=False)


def test_a_size_is_recorded_with_and_without_places_to_avoid(stepper):
    recorded = stepper.running(RecordedStep(stepper.step, FakeCuda()))
    free = _input(stepper)
    for item in (free, replace(free, avoid=[(9.0, 9.0, 4.0, 4.0)]), free):
        (made,), (wanted,) = recorded.launch([item]).result(), stepper.launch([item]).result()
        assert made.state == wanted.state and (made.row, made.column) == (wanted.row, wanted.column)


def test_a_size_that_cannot_be_recorded_is_computed_plainly(stepper, monkeypatch, caplog):
    def refuse(work: Any) -> Any:
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing")

    device = FakeCuda()
    monkeypatch.setattr(device, "record", refuse)
    recorded = stepper.running(RecordedStep(stepper.step, device))
    inputs = [_input(stepper)] * 2
    made, wanted = recorded.launch(inputs).result(), stepper.launch(inputs).result()
    assert [result.state for result in made] == [result.state for result in wanted]
    recorded.launch(inputs).result()
    assert caplog.text.count("a step of 2 tracks cannot be recorded, and is computed plainly") == 1


def test_a_size_that_memory_does_not_hold_is_not_taken_for_one_that_cannot_be_recorded(stepper, monkeypatch):
    def refuse(work: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    device = FakeCuda()
    monkeypatch.setattr(device, "record", refuse)
    recorded = stepper.running(RecordedStep(stepper.step, device))
    for _ in range(2):
        with pytest.raises(torch.OutOfMemoryError):
            recorded.launch([_input(stepper)])
    monkeypatch.undo()
    assert recorded.launch([_input(stepper)]).result()[0].state.width > 0
