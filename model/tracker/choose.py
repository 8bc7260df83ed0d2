"""From a batch of responses to the next boxes, on the device and without a loop over tracks.

Source: SiamRPN's inference (penalty on changes of scale and ratio, cosine window, damped size), as SiamMask uses
it. The two-branch network has no box branch: the score map gives the position and the mask's min-max box the rest.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from model.network.anchors import SCORE_SIZE, STRIDE, anchors, cosine_window
from model.tracker.crop import SEARCH_SIZE, TEMPLATE_SIZE
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
    cells: float32 [B, 25, 25], the best score of any candidate of each cell that is not at a place to avoid. seen: the
    same of all candidates; centres: float32 [2, B, 25, 25], x and y of these, as `shift`.
    """

    score: Tensor
    penalty: Tensor
    row: Tensor
    column: Tensor
    shift: Tensor
    size: Tensor
    cells: Tensor
    seen: Tensor
    centres: Tensor


class Chooser:
    """Chooses candidates and moves states for a whole batch; its constants live on one device."""

    def __init__(self, params: TrackerParams, device: torch.device | str = "cpu") -> None:
        self.params = params
        self._anchors = torch.from_numpy(anchors()).permute(3, 0, 1, 2).contiguous().to(device)  # [4, k, 25, 25]
        self._window = torch.from_numpy(cosine_window()).to(device) * params.window_influence

    def choose(
        self,
        score: Tensor,
        box: Tensor | None,
        target: Tensor,
        is_free: Tensor | None = None,
        avoid: Tensor | None = None,
    ) -> Choice:
        """Choose one candidate a search window.

        Args:
            score: [B, 2k, 25, 25] logits, (class, anchor) channels with class 1 the object; without a box branch
                [B, 1, 25, 25].
            box: [B, 4k, 25, 25], (dx dy dw dh, anchor) channels relative to the anchors, or None.
            target: float32 [B, 2], the target's width and height in search-window pixels.
            is_free: bool [B], true where the target may be anywhere in the window: no cosine window; by default none.
            avoid: float32 [B, K, 4], places where others are: centres (x, y) relative to the window's centre and sizes,
                in search-window pixels; no candidate with its centre in one is chosen. A size of 0 is no place.
        """
        batch = score.shape[0]
        if box is None:
            scores = score.float().sigmoid()[:, 0]
            return self._pick_cell(scores, target, is_free, avoid)
        k = self._anchors.shape[1]
        logits = score.float().view(batch, 2, k, SCORE_SIZE, SCORE_SIZE)
        scores = (logits[:, 1] - logits[:, 0]).sigmoid()  # the softmax of two classes
        seen, anchor = scores.max(1)
        delta = box.float().view(batch, 4, k, SCORE_SIZE, SCORE_SIZE)
        ax, ay, aw, ah = self._anchors
        width, height = delta[:, 2].exp() * aw, delta[:, 3].exp() * ah
        target_w, target_h = target[:, 0].view(-1, 1, 1, 1), target[:, 1].view(-1, 1, 1, 1)
        scale_change = _change(_context_side(width, height) / _context_side(target_w, target_h))
        ratio_change = _change((target_w / target_h) / (width / height))
        penalty = torch.exp(-(scale_change * ratio_change - 1) * self.params.penalty_k)
        ranking = penalty * scores * (1 - self.params.window_influence) + self._window_of(is_free)[:, None]
        shift = torch.stack([delta[:, 0] * aw + ax, delta[:, 1] * ah + ay])
        cells = seen
        if avoid is not None:
            taken = _within(shift, avoid)
            ranking, cells = ranking.masked_fill(taken, -1), scores.masked_fill(taken, 0).amax(1)
        best = ranking.reshape(batch, -1).argmax(1)

        def at_best(values: Tensor) -> Tensor:
            return values.reshape(batch, -1).gather(1, best[:, None])[:, 0]

        cell = best % (SCORE_SIZE * SCORE_SIZE)
        return Choice(
            score=at_best(scores),
            penalty=at_best(penalty),
            row=cell // SCORE_SIZE,
            column=cell % SCORE_SIZE,
            shift=torch.stack([at_best(shift[0]), at_best(shift[1])], 1),
            size=torch.stack([at_best(width), at_best(height)], 1),
            cells=cells,
            seen=seen,
            centres=shift.gather(2, anchor[None, :, None].expand(2, -1, -1, -1, -1))[:, :, 0],
        )

    def _window_of(self, is_free: Tensor | None) -> Tensor:
        """The cosine window of each search window, [B or 1, 25, 25]."""
        return self._window[None] if is_free is None else self._window.where(~is_free[:, None, None], 0)

    def _pick_cell(self, scores: Tensor, target: Tensor, is_free: Tensor | None, avoid: Tensor | None) -> Choice:
        ranking = scores * (1 - self.params.window_influence) + self._window_of(is_free)
        steps = (torch.arange(SCORE_SIZE, device=scores.device) - SCORE_SIZE // 2) * float(STRIDE)
        centres = torch.stack(torch.meshgrid(steps, steps, indexing="xy"))[:, None].expand(2, *scores.shape)
        cells = scores
        if avoid is not None:
            taken = _within(centres, avoid)
            ranking, cells = ranking.masked_fill(taken, -1), scores.masked_fill(taken, 0)
        cell = ranking.flatten(1).argmax(1)
        row, column = cell // SCORE_SIZE, cell % SCORE_SIZE
        best = scores.flatten(1).gather(1, cell[:, None])[:, 0]
        shift = (torch.stack([column, row], 1) - SCORE_SIZE // 2).float() * STRIDE
        return Choice(best, torch.ones_like(best), row, column, shift, target, cells, scores, centres)

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
        has_mask = inside.flatten(1).any(1)[:, None]
        return replace(
            choice,
            shift=torch.where(has_mask, shift, choice.shift),
            size=torch.where(has_mask, size, choice.size),
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


def _within(centres: Tensor, places: Tensor) -> Tensor:
    """Whether centres [2, B, …], x and y, lie in any of the places [B, K, 4] of their row: bool [B, …]."""
    batch = places.shape[0]
    taken = torch.zeros((batch, *centres.shape[2:]), dtype=torch.bool, device=centres.device)
    for place in places.unbind(1):
        x, y, width, height = (value.reshape(batch, *[1] * (centres.dim() - 2)) for value in place.unbind(1))
        taken |= ((centres[0] - x).abs() < width / 2) & ((centres[1] - y).abs() < height / 2)
    return taken


def _change(ratio: Tensor) -> Tensor:
    return torch.maximum(ratio, 1 / ratio)


def _context_side(width: Tensor, height: Tensor) -> Tensor:
    margin = (width + height) * 0.5
    return torch.sqrt((width + margin) * (height + margin))
