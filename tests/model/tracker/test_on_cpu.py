"""The compiled choice and evidence: what torch's own functions say of the same responses."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.tracker import PRESETS
from model.tracker.choose import Choice, Chooser
from model.tracker.evidence import Evidence
from model.tracker.on_cpu import CpuChooser, CpuEvidence


def responses(seed: int, batch: int, spread: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits, boxes and targets; with little spread many candidates are nearly as good as the best."""
    rng = np.random.default_rng(seed)
    score = spread * rng.standard_normal((batch, 10, 25, 25)) - 2
    box = 0.4 * rng.standard_normal((batch, 20, 25, 25))
    target = rng.uniform(10, 200, (batch, 2))
    return tuple(torch.from_numpy(each.astype(np.float32)) for each in (score, box, target))  # type: ignore[return-value]


def agree(made: Choice, wanted: Choice, score: torch.Tensor) -> None:
    """Compare choices of these logits; of a cell's candidates that torch rounds to one score each may be the best."""
    for field in fields(Choice):
        one, other = getattr(made, field.name), getattr(wanted, field.name)
        assert one.dtype == other.dtype, field.name
        if field.name == "centres" and score.shape[1] > 1:
            logits = score.float().unflatten(1, (2, -1))
            best, second = (logits[:, 1] - logits[:, 0]).sigmoid().topk(2, 1).values.unbind(1)
            one, other = (torch.where(best > second + 1e-6, values, 0) for values in (one, other))
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-6), field.name


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    batch=st.integers(1, 3),
    spread=st.sampled_from([0.0, 0.01, 1.0, 5.0]),
    penalty_k=st.sampled_from([0.0, 0.04, 2.0]),
    influence=st.sampled_from([0.0, 0.42, 1.0]),
    is_free=st.sampled_from([None, False, True]),
    places=st.lists(st.tuples(*[st.floats(-130, 130)] * 2, *[st.sampled_from([0.0, 20.0, 400.0])] * 2), max_size=4),
)
def test_the_choice_is_that_of_all_candidates(seed, batch, spread, penalty_k, influence, is_free, places):
    params = replace(PRESETS["vot"], penalty_k=penalty_k, window_influence=influence)
    score, box, target = responses(seed, batch, spread)
    free = None if is_free is None else torch.tensor([is_free, *[False] * (batch - 1)])
    avoid = torch.tensor([places, *[[(0.0, 0.0, 0.0, 0.0)] * len(places)] * (batch - 1)]) if places else None
    wanted = Chooser(params).choose(score, box, target, free, avoid)
    made = CpuChooser(params).choose(score, box, target, free, avoid)
    same_cell = (made.row == wanted.row) & (made.column == wanted.column)
    if not same_cell.all():  # two candidates alike but for the last bits
        assert torch.allclose(made.score * made.penalty, wanted.score * wanted.penalty, rtol=1e-5)
        return
    agree(made, wanted, score)
    assert (made.cells is made.seen) == (avoid is None)


def test_nearly_every_choice_is_the_same_cell():
    score, box, target = responses(1, 400, 3.0)
    wanted, made = (kind(PRESETS["vot"]).choose(score, box, target) for kind in (Chooser, CpuChooser))
    assert (made.row == wanted.row).all() and (made.column == wanted.column).all()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_responses_are_taken_as_the_network_gives_them(layout, dtype):
    score, box, target = responses(3, 2, 3.0)
    score, box = (each.to(dtype, memory_format=layout) for each in (score, box))
    made, wanted = (kind(PRESETS["vot"]).choose(score, box, target) for kind in (CpuChooser, Chooser))
    agree(made, wanted, score)


@pytest.mark.parametrize("size", [-200.0, 80.0])
def test_boxes_of_no_size_and_of_any_size_lose_to_others(size):
    score, box, target = responses(7, 2, 3.0)
    grid = box.view(2, 4, 5, 25, 25)
    grid[0, 2, :, ::2], grid[1, 3, :, :, ::2] = size, size  # widths, heights
    made, wanted = (kind(PRESETS["vot"]).choose(score, box, target) for kind in (CpuChooser, Chooser))
    agree(made, wanted, score)
    empty = torch.zeros(2, 20, 25, 25)
    empty[:, 10:] = -200.0  # all sizes, 0
    assert CpuChooser(PRESETS["vot"]).choose(score, empty, target).score.isfinite().all()


def test_the_two_branch_network_has_its_cell_of_torch():
    score, target = torch.randn(2, 1, 25, 25), torch.full((2, 2), 50.0)
    made, wanted = (kind(PRESETS["vot"]).choose(score, None, target) for kind in (CpuChooser, Chooser))
    agree(made, wanted, score)


def test_what_is_not_finite_shows_in_the_choice():
    score, box, target = responses(4, 3, 3.0)
    score[0, 3, 2, 2] = float("nan")
    box[1, 7, 20, 3] = float("inf")
    choice = CpuChooser(PRESETS["vot"]).choose(score, box, target)
    assert choice.score.isfinite().tolist() == [False, True, True]
    assert choice.shift.isfinite().all(1).tolist() == [True, False, True]


@pytest.mark.parametrize("side", [127, 63])
@pytest.mark.parametrize("filled", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("avoids", [False, True])
def test_evidence_is_that_of_torch(side, filled, avoids):
    score, box, target = responses(5, 4, 3.0)
    avoid = torch.tensor([[[0.0, 0.0, 90.0, 90.0]]] * 4) if avoids else None
    choice = CpuChooser(PRESETS["vot"]).choose(score, box, target, None, avoid)
    choice = replace(choice, size=torch.tensor([[40.0, 60.0], [500.0, 500.0], [10.0, 10.0], [90.0, 20.0]]))
    generator = torch.Generator().manual_seed(0)
    masks = (torch.rand(4, side, side, generator=generator) < filled) * torch.rand(4, side, side, generator=generator)
    patches = torch.randn(4, 32, 7, 7, generator=generator)
    made, wanted = (kind(0.35).measure(choice, masks, patches) for kind in (CpuEvidence, Evidence))
    assert made.dtype == wanted.dtype and torch.allclose(made, wanted, rtol=1e-4, atol=1e-5)
    last = patches.to(torch.bfloat16).to(memory_format=torch.channels_last)
    made, wanted = (kind(0.35).measure(choice, masks, last) for kind in (CpuEvidence, Evidence))
    assert torch.allclose(made, wanted, rtol=1e-4, atol=1e-5)


def test_states_move_as_torch_moves_them():
    score, box, target = responses(6, 64, 3.0)
    rng = np.random.default_rng(0)
    state = torch.from_numpy(rng.uniform(5, 500, (64, 4)))
    scale, hold = torch.from_numpy(rng.uniform(0.2, 4, 64)), torch.from_numpy(rng.random(64) < 0.2)
    frame = torch.from_numpy(rng.uniform(100, 400, (64, 2)))
    chooser, compiled = Chooser(PRESETS["vot"]), CpuChooser(PRESETS["vot"])
    choice = chooser.choose(score, box, target)
    wanted = chooser.update(choice, state, scale, frame, hold)
    made = compiled.update(choice, state, scale, frame, hold)
    assert torch.allclose(made, wanted, rtol=1e-12)
    assert torch.equal(made[hold], state[hold])
    broken = replace(choice, shift=choice.shift * float("nan"))
    assert not compiled.update(broken, state, scale, frame, hold)[~hold].isfinite().all(1).any()
