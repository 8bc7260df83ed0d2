"""What fails in an engine stays with the request at fault."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from model.engine import Engine
from model.engine.stepper import Flight, StepInput, Stepper
from model.tracker import PRESETS
from tests.model.engine.tracks import BOXES, lively, same

pytestmark = pytest.mark.usefixtures("one_runner")


def test_a_bad_request_fails_alone(model, frames, wanted):
    with Engine(model, PRESETS["vot"], max_tracks=4) as engine:
        futures = [
            engine.init(frames[0], BOXES[0]),
            engine.init(frames[0], (500, 500, 10, 10)),
            engine.init(frames[0][..., 0], BOXES[1]),
            engine.init(frames[0], BOXES[1]),
        ]
        with pytest.raises(ValueError, match="outside the 160x120 frame"):
            futures[1].result()
        with pytest.raises(ValueError, match="uint8"):
            futures[2].result()
        (track, _), (other, _) = futures[0].result(), futures[3].result()
        small, good = engine.step(track, frames[1][:60]), engine.step(other, frames[1])
        with pytest.raises(ValueError, match="160x60, but the track started on 160x120"):
            small.result()
        same([good.result()], [wanted[1][1]])
        same([engine.step(track, frames[1]).result()], [wanted[0][1]])  # and the track can go on


def test_a_track_steps_one_frame_at_a_time(model, frames):
    with Engine(model, PRESETS["vot"]) as engine:
        track, _ = engine.init(frames[0], BOXES[0]).result()
        first, second = engine.step(track, frames[1]), engine.step(track, frames[2])
        with pytest.raises(RuntimeError, match="step under way"):
            second.result()
        first.result()


def test_an_answer_that_is_not_finite_fails_its_own_track(model, frames):
    broken = lively()
    with torch.no_grad():
        broken.box.head[3].bias.fill_(float("nan"))
    with Engine(broken, PRESETS["vot"]) as engine:
        track, _ = engine.init(frames[0], BOXES[0]).result()  # the init frame's state is held
        with pytest.raises(FloatingPointError, match="NaN"):
            engine.step(track, frames[1]).result()
        assert np.isfinite(track.state.box).all()


def refuse(
    monkeypatch: pytest.MonkeyPatch, error: Exception, refuses: Callable[[Sequence[StepInput]], bool]
) -> list[int]:
    """Make a device that holds no more than a few windows, or refuses one of them; returns the sizes of its batches."""
    launch, sizes = Stepper.launch, []

    def choke(stepper: Stepper, inputs: Sequence[StepInput]) -> Flight:
        sizes.append(len(inputs))
        if refuses(inputs):
            raise error
        return launch(stepper, inputs)

    monkeypatch.setattr(Stepper, "launch", choke)
    return sizes


def test_out_of_memory_halves_the_batch(model, frames, wanted, monkeypatch):
    with Engine(model, PRESETS["vot"], max_tracks=8) as engine:
        tracks = [future.result()[0] for future in [engine.init(frames[0], box) for box in BOXES[:8]]]
        error = torch.cuda.OutOfMemoryError("no memory")
        sizes = refuse(monkeypatch, error, lambda inputs: len(inputs) > 2)
        outputs = [future.result() for future in [engine.step(track, frames[1]) for track in tracks]]
        sizes.clear()
        again = [engine.step(track, frames[2]) for track in tracks]
        for future in again:
            future.result()
        assert max(sizes) <= 2  # it does not try the large batch again
    for output, path in zip(outputs, wanted, strict=False):
        same([output], [path[1]])


def test_a_failure_on_the_device_is_charged_to_its_request(model, frames, wanted, monkeypatch):
    with Engine(model, PRESETS["vot"], max_tracks=8) as engine:
        tracks = [future.result()[0] for future in [engine.init(frames[0], box) for box in BOXES[:5]]]
        poison = tracks[3].kernels
        refuse(monkeypatch, ArithmeticError("bad"), lambda inputs: any(item.kernels is poison for item in inputs))
        futures = [engine.step(track, frames[1]) for track in tracks]
        for i, future in enumerate(futures):
            if i == 3:
                with pytest.raises(ArithmeticError, match="bad"):
                    future.result()
            else:
                same([future.result()], [wanted[i][1]])
