"""The choice and the evidence on a CPU, as `choose` and `evidence` have them, in three compiled calls.

The numbers are theirs but for the last bits of exponentials and sums.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.network.anchors import SCORE_SIZE, STRIDE
from model.tracker.choose import SMALLEST_SIZE, Choice, Chooser
from model.tracker.choose_kernels import best_candidates, evidence, moved_states
from model.tracker.crop import TEMPLATE_SIZE
from model.tracker.evidence import APART, LEAST_WEIGHT, TINY_MASK, Evidence
from model.tracker.params import TrackerParams


class CpuChooser(Chooser):
    """A `Chooser` of tensors on the CPU."""

    def __init__(self, params: TrackerParams) -> None:
        super().__init__(params)
        self._constants = (
            self._anchors.numpy(),
            self._window.numpy(),
            np.float32(1 - params.window_influence),
            np.float32(params.penalty_k),
        )

    def choose(
        self,
        score: Tensor,
        box: Tensor | None,
        target: Tensor,
        is_free: Tensor | None = None,
        avoid: Tensor | None = None,
    ) -> Choice:
        """As `Chooser.choose`; where a logit is not finite the score is NaN, where a box is not the shift is."""
        if box is None:
            return super().choose(score, box, target, is_free, avoid)
        batch, grid = len(score), (-1, SCORE_SIZE, SCORE_SIZE)
        found, place, cells, seen, centres = best_candidates(
            _array(score).reshape(batch, 2, *grid),
            _array(box).reshape(batch, 4, *grid),
            target.numpy(),
            np.zeros(batch, bool) if is_free is None else is_free.numpy(),
            np.zeros((batch, 0, 4), np.float32) if avoid is None else avoid.numpy(),
            *self._constants,
        )
        numbers, cell = torch.from_numpy(found), torch.from_numpy(place)
        all_seen = torch.from_numpy(seen)
        return Choice(
            score=numbers[:, 0],
            penalty=numbers[:, 1],
            row=cell[:, 0],
            column=cell[:, 1],
            shift=numbers[:, 2:4],
            size=numbers[:, 4:6],
            cells=all_seen if avoid is None else torch.from_numpy(cells),
            seen=all_seen,
            centres=torch.from_numpy(centres),
        )

    def update(self, choice: Choice, state: Tensor, scale: Tensor, frame: Tensor, hold: Tensor) -> Tensor:
        """As `Chooser.update`."""
        found = torch.cat([choice.score[:, None], choice.penalty[:, None], choice.shift, choice.size], 1)
        moved = moved_states(
            found.numpy(), state.numpy(), scale.numpy(), frame.numpy(), hold.numpy(), np.float32(self.params.lr),
            SMALLEST_SIZE,
        )  # fmt: skip
        return torch.from_numpy(moved)


class CpuEvidence(Evidence):
    """An `Evidence` of tensors on the CPU."""

    def measure(self, choice: Choice, masks: Tensor, patches: Tensor) -> Tensor:
        """As `Evidence.measure`."""
        area = (TEMPLATE_SIZE / masks.shape[-1]) ** 2
        constants = (1 / (2 * STRIDE), APART / STRIDE, area, TINY_MASK / area, LEAST_WEIGHT)
        measured = evidence(
            torch.stack([choice.row, choice.column], 1).numpy(),
            _array(choice.size),
            _array(choice.penalty),
            _array(choice.cells),
            _array(choice.seen),
            _array(choice.centres),
            _array(masks),
            _array(patches.permute(0, 2, 3, 1)),
            np.float32(self._threshold),
            tuple(map(np.float32, constants)),
        )
        return torch.from_numpy(measured)


def _array(tensor: Tensor) -> NDArray[np.float32]:
    """A tensor's numbers in its own order of axes, one after the other."""
    numbers: NDArray[np.float32] = tensor.float().contiguous().numpy()
    return numbers
