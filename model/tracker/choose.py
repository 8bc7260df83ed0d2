"""From a batch of responses to the next boxes, on the device and without a loop over tracks.

Source: SiamRPN's inference (penalty on changes of scale and ratio, cosine window, damped size), as SiamMask uses
it. The two-branch network has no box branch: the score map gives the position and the mask's min-max box the rest.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from model.anchors import SCORE_SIZE, STRIDE, anchors, cosine_window
from model.crop import SEARCH_SIZE, TEMPLATE_SIZE
from model.tracker.params import TrackerParams

SMALLEST_SIZE = 10.0  # pixels of the frame
# A mask covers the template's side about its cell; cell 0 stands this many strides left of the window's edge.
MASK_CELLS_BEFORE = 4


@dataclass(frozen=True, slots=True)
class Choice:
    """The best candidate of each search window in a batch of B.

    score: float32 [B], 0 to 1, without penalty and window. penalty: float32 [B], 0 to 1.
    row, column: int64 [B], its cell in the score map. shift: float32 [B, 2], its centre (x, y) relative to the
    search window's centre; size: float32 [B, 2], its width and height; both in search-window pixels.
    """

    score: Tensor
    penalty: Tensor
    row: Tensor
    column: Tensor
    shift: Tensor
    size: Tensor


class Chooser:
    """Chooses candidates and moves states for a whole batch; its constants live on one device."""

    def __init__(self, params: TrackerParams, device: torch.device | str = "cpu") -> None:
        self.params = params
        self._anchors = torch.from_numpy(anchors()).permute(3, 0, 1, 2).contiguous().to(device)  # [4, k, 25, 25]
        self._window = torch.from_numpy(cosine_window()).to(device) * params.window_influence

    def choose(self, score: Tensor, box: Tensor | None, target: Tensor) -> Choice:
        """Choose one candidate a search window.

        Args:
            score: [B, 2k, 25, 25] logits, (class, anchor) channels with class 1 the object; without a box branch
                [B, 1, 25, 25].
            box: [B, 4k, 25, 25], (dx dy dw dh, anchor) channels relative to the anchors, or None.
            target: float32 [B, 2], the target's width and height in search-window pixels.
        """
        batch = score.shape[0]
        if box is None:
            scores = score.float().sigmoid()[:, 0]
            return self._pick_cell(scores, target)
        k = self._anchors.shape[1]
        logits = score.float().view(batch, 2, k, SCORE_SIZE, SCORE_SIZE)
        scores = (logits[:, 1] - logits[:, 0]).sigmoid()  # the softmax of two classes
        delta = box.float().view(batch, 4, k, SCORE_SIZE, SCORE_SIZE)
        ax, ay, aw, ah = self._anchors
        width, height = delta[:, 2].exp() * aw, delta[:, 3].exp() * ah
        target_w, target_h = target[:, 0].view(-1, 1, 1, 1), target[:, 1].view(-1, 1, 1, 1)
        scale_change = _change(_context_side(width, height) / _context_side(target_w, target_h))
        ratio_change = _change((target_w / target_h) / (width / height))
        penalty = torch.exp(-(scale_change * ratio_change - 1) * self.params.penalty_k)
        ranking = penalty * scores * (1 - self.params.window_influence) + self._window
        best = ranking.reshape(batch, -1).argmax(1)

        def at_best(values: Tensor) -> Tensor:
            return values.reshape(batch, -1).gather(1, best[:, None])[:, 0]

        cell = best % (SCORE_SIZE * SCORE_SIZE)
        return Choice(
            score=at_best(scores),
            penalty=at_best(penalty),
            row=cell // SCORE_SIZE,
            column=cell % SCORE_SIZE,
            shift=torch.stack([at_best(delta[:, 0] * aw + ax), at_best(delta[:, 1] * ah + ay)], 1),
            size=torch.stack([at_best(width), at_best(height)], 1),
        )

    def _pick_cell(self, scores: Tensor, target: Tensor) -> Choice:
        ranking = scores * (1 - self.params.window_influence) + self._window
        cell = ranking.flatten(1).argmax(1)
        row, column = cell // SCORE_SIZE, cell % SCORE_SIZE
        best = scores.flatten(1).gather(1, cell[:, None])[:, 0]
        shift = (torch.stack([column, row], 1) - SCORE_SIZE // 2).float() * STRIDE
        return Choice(best, torch.ones_like(best), row, column, shift, target)

    def box_from_mask(self, choice: Choice, probability: Tensor) -> Choice:
        """Replace a choice's box by the min-max box of its mask, where the mask is not empty.

        Args:
            choice: of the same B search windows.
            probability: float32 [B, M, M], the masks at the chosen cells.
        """
        inside = probability > self.params.mask_threshold
        pixel = TEMPLATE_SIZE / inside.shape[-1]
        cell = torch.stack([choice.column, choice.row], 1)
        corner = (cell - MASK_CELLS_BEFORE).float() * STRIDE - SEARCH_SIZE / 2
        along = torch.stack([inside.any(1), inside.any(2)], 1).float()  # [B, 2, M]: columns, rows
        first = along.argmax(2)
        last = along.shape[2] - along.flip(2).argmax(2)
        size = (last - first).float() * pixel
        shift = corner + (first + last).float() * (pixel / 2)
        found = inside.flatten(1).any(1)[:, None]
        return replace(
            choice,
            shift=torch.where(found, shift, choice.shift),
            size=torch.where(found, size, choice.size),
        )

    def update(self, choice: Choice, state: Tensor, scale: Tensor, frame: Tensor, hold: Tensor) -> Tensor:
        """Move the states to the chosen boxes.

        Args:
            choice: of the same B tracks.
            state: float64 [B, 4], centre x, centre y, width and height in frame pixels.
            scale: float64 [B], search-window pixels a frame pixel.
            frame: float64 [B, 2], width and height of each track's frame.
            hold: bool [B], true where the state stays as it is (the init frame).

        Returns:
            float64 [B, 4], centres inside the frame and sizes from 10 px to the frame's.
        """
        rate = (choice.penalty * choice.score * self.params.lr).double()[:, None]
        centre = state[:, :2] + choice.shift.double() / scale[:, None]
        size = state[:, 2:] * (1 - rate) + choice.size.double() / scale[:, None] * rate
        centre = torch.minimum(centre.clamp(min=0.0), frame)
        size = torch.minimum(size.clamp(min=SMALLEST_SIZE), frame)
        return torch.where(hold[:, None], state, torch.cat([centre, size], 1))


def _change(ratio: Tensor) -> Tensor:
    return torch.maximum(ratio, 1 / ratio)


def _context_side(width: Tensor, height: Tensor) -> Tensor:
    margin = (width + height) * 0.5
    return torch.sqrt((width + margin) * (height + margin))
