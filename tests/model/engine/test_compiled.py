"""A compiled step: the same answers, one graph a batch size, and a compiler that fails shows early."""

from __future__ import annotations

import functools

import pytest
import torch

from model.engine import Engine
from model.tracker import PRESETS
from tests.model.engine.tracks import BOXES, alone, lively, same

pytestmark = pytest.mark.usefixtures("one_runner")


@pytest.mark.parametrize("variant", ["three", "two"])
def test_a_compiled_step_answers_the_same(model, frames, wanted, monkeypatch, variant):
    """Every batch size is compiled as a whole; the code generator, which needs a C++ compiler, stands aside here."""
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend, fullgraph=True))
    if variant == "two":
        model = lively(variant)
        wanted = alone(model, frames, BOXES)
    with Engine(model, PRESETS["vot"], max_tracks=3, compiled=True) as engine:
        assert len(graphs) == 1
        for count in (1, 2, 3):
            begun = [engine.init(frames[0], box) for box in BOXES[:count]]
            tracks, paths = [future.result()[0] for future in begun], [[future.result()[1]] for future in begun]
            for frame in frames[1:]:
                for path, future in zip(paths, [engine.step(track, frame) for track in tracks], strict=True):
                    path.append(future.result())
            for path, other in zip(paths, wanted, strict=False):
                same(path, other)
    assert 2 <= len(graphs) <= 3


def test_what_cannot_be_compiled_shows_when_the_engine_is_made(model, monkeypatch):
    def backend(graph, inputs):
        raise RuntimeError("no C++ compiler")

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    with pytest.raises(Exception, match="no C\\+\\+ compiler"):
        Engine(model, PRESETS["vot"], compiled=True)
