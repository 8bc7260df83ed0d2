"""The loops over the candidates and the mask pixels of search windows on a CPU, compiled, and without Python's lock."""

from __future__ import annotations

import math

import numpy as np

from model.caches import compiled

_ONE, _HALF = np.float32(1), np.float32(0.5)


@compiled()
def best_candidates(
    score: np.ndarray,
    box: np.ndarray,
    target: np.ndarray,
    is_free: np.ndarray,
    avoid: np.ndarray,
    anchors: np.ndarray,
    window: np.ndarray,
    keep: np.float32,
    penalty_k: np.float32,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Choose a candidate a search window, as `model.tracker.choose.Chooser.choose` describes it.

    No candidate ranks higher than its score without a penalty, so that a penalty is computed only where it can still
    win: of few of the 3,125.

    Args:
        score: float32 [B, 2, k, S, S] logits. box: float32 [B, 4, k, S, S]. target: float32 [B, 2].
        is_free: bool [B]. avoid: float32 [B, K, 4], K 0 for no places.
        anchors: float32 [4, k, S, S]. window: float32 [S, S], the cosine window times its influence; keep: 1 less that.
        penalty_k: the penalty's strength, not below 0.

    Returns:
        float32 [B, 6], score, penalty, shift and size of the choice; int64 [B, 2], its row and column; and the fields
        cells, seen and centres of a `Choice`. Where a logit is not finite the score is NaN, where a box is not the
        shift is.
    """
    batch, _, k, side, _ = score.shape
    found = np.empty((batch, 6), np.float32)
    place = np.empty((batch, 2), np.int64)
    cells = np.empty((batch, side, side), np.float32)
    seen = np.empty((batch, side, side), np.float32)
    centres = np.empty((2, batch, side, side), np.float32)
    bound = np.empty((side, side), np.float32)
    for b in range(batch):
        doubt, box_doubt = np.float32(0), np.float32(0)  # NaN if any of the logits, of the boxes is not finite
        most = np.float32(-2)
        start_row, start_column = 0, 0
        for row in range(side):
            for column in range(side):
                best, allowed, anchor, is_any = np.float32(-np.inf), np.float32(-np.inf), 0, False
                for a in range(k):
                    logit = score[b, 1, a, row, column] - score[b, 0, a, row, column]
                    x, y = box[b, 0, a, row, column], box[b, 1, a, row, column]
                    doubt += logit * np.float32(0)
                    box_doubt += (x + y + box[b, 2, a, row, column] + box[b, 3, a, row, column]) * np.float32(0)
                    if logit > best:
                        best, anchor = logit, a
                    if avoid.shape[1] and logit > allowed:
                        x = x * anchors[2, a, row, column] + anchors[0, a, row, column]
                        y = y * anchors[3, a, row, column] + anchors[1, a, row, column]
                        if not _is_taken(x, y, avoid[b]):
                            allowed, is_any = logit, True
                seen[b, row, column] = _ONE / (_ONE + math.exp(-best))
                for i in range(2):
                    delta, size = box[b, i, anchor, row, column], anchors[2 + i, anchor, row, column]
                    centres[i, b, row, column] = delta * size + anchors[i, anchor, row, column]
                if avoid.shape[1]:
                    cells[b, row, column] = _ONE / (_ONE + math.exp(-allowed)) if is_any else np.float32(0)
                else:
                    cells[b, row, column] = seen[b, row, column]
                    is_any = True
                middle = np.float32(0) if is_free[b] else window[row, column]
                bound[row, column] = cells[b, row, column] * keep + middle if is_any else np.float32(-1)
                if bound[row, column] > most:
                    most, start_row, start_column = bound[row, column], row, column
        target_width, target_height = target[b, 0], target[b, 1]
        target_side, target_ratio = _context_side(target_width, target_height), target_width / target_height
        # The cell that may rank highest comes first, then those in whose midst one may rank higher still.
        best, flat = np.float32(-1), 0
        for number in range(-1, side * side):
            row, column = (start_row, start_column) if number < 0 else (number // side, number % side)
            if bound[row, column] < best or bound[row, column] < 0:
                continue
            for a in range(k):
                if avoid.shape[1]:
                    x = box[b, 0, a, row, column] * anchors[2, a, row, column] + anchors[0, a, row, column]
                    y = box[b, 1, a, row, column] * anchors[3, a, row, column] + anchors[1, a, row, column]
                    if _is_taken(x, y, avoid[b]):
                        continue
                probability, penalty = _judged(
                    score[b, :, a, row, column], box[b, :, a, row, column], anchors[:, a, row, column],
                    target_side, target_ratio, penalty_k,
                )  # fmt: skip
                rank = penalty * probability * keep + (np.float32(0) if is_free[b] else window[row, column])
                here = (a * side + row) * side + column
                if rank > best or (rank == best and here < flat):
                    best, flat = rank, here
        a, row, column = flat // (side * side), flat // side % side, flat % side
        delta, anchor_box = box[b, :, a, row, column], anchors[:, a, row, column]
        probability, penalty = _judged(
            score[b, :, a, row, column], delta, anchor_box, target_side, target_ratio, penalty_k
        )
        found[b, 0], found[b, 1] = probability + doubt, penalty
        for i in range(2):
            found[b, 2 + i] = delta[i] * anchor_box[2 + i] + anchor_box[i] + box_doubt
            found[b, 4 + i] = math.exp(delta[2 + i]) * anchor_box[2 + i]
        place[b, 0], place[b, 1] = row, column
    return found, place, cells, seen, centres


@compiled()
def _judged(
    logits: np.ndarray,
    delta: np.ndarray,
    anchor: np.ndarray,
    target_side: np.float32,
    target_ratio: np.float32,
    penalty_k: np.float32,
) -> tuple[np.float32, float]:
    """A candidate's score and penalty."""
    width, height = math.exp(delta[2]) * anchor[2], math.exp(delta[3]) * anchor[3]
    scale, ratio = _context_side(width, height) / target_side, target_ratio / (width / height)
    change = max(scale, _ONE / scale) * max(ratio, _ONE / ratio)
    return _ONE / (_ONE + math.exp(logits[0] - logits[1])), math.exp(-(change - _ONE) * penalty_k)


@compiled()
def _context_side(width: np.float32, height: np.float32) -> np.float32:
    margin = (width + height) * _HALF
    return np.sqrt((width + margin) * (height + margin))


@compiled()
def _is_taken(x: np.float32, y: np.float32, places: np.ndarray) -> bool:
    for i in range(places.shape[0]):
        if abs(x - places[i, 0]) < places[i, 2] * _HALF and abs(y - places[i, 1]) < places[i, 3] * _HALF:
            return True
    return False


@compiled(reorders=True)
def evidence(
    place: np.ndarray,
    size: np.ndarray,
    penalty: np.ndarray,
    cells: np.ndarray,
    seen: np.ndarray,
    centres: np.ndarray,
    masks: np.ndarray,
    patches: np.ndarray,
    threshold: np.float32,
    constants: tuple[np.float32, ...],
) -> np.ndarray:
    """Measure search windows, as `model.tracker.evidence.Evidence.measure` describes it.

    Args:
        place: int64 [B, 2], row and column of the choice. size: float32 [B, 2]. penalty: float32 [B].
        cells, seen: float32 [B, S, S]. centres: float32 [2, B, S, S].
        masks: float32 [B, M, M]. patches: float32 [B, 7, 7, C].
        threshold: of the mask.
        constants: cells to the edge of a box a pixel of its size, cells beyond that, area of a mask's pixel, mask
            pixels in a tiny mask, and least weight of a feature.

    Returns:
        float32 [B, 8 + C].
    """
    reach_rate, reach_more, pixel_area, tiny, least = constants
    batch, side, _ = seen.shape
    extent, patch, channels = masks.shape[1], patches.shape[1], patches.shape[3]
    step = extent // 15
    first = (extent - patch * step) // 2
    made = np.zeros((batch, 8 + channels), np.float32)
    for b in range(batch):
        reach_x, reach_y = size[b, 0] * reach_rate + reach_more, size[b, 1] * reach_rate + reach_more
        peak, elsewhere, peak_row, peak_column = np.float32(0), np.float32(0), 0, 0
        for row in range(side):
            is_above = abs(row - place[b, 0]) > reach_y
            for column in range(side):
                if is_above or abs(column - place[b, 1]) > reach_x:
                    elsewhere = max(elsewhere, cells[b, row, column])
                    if seen[b, row, column] > peak:
                        peak, peak_row, peak_column = seen[b, row, column], row, column
        inside, total, certain, square = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
        flat = masks[b].reshape(-1)
        for i in range(flat.size):
            value, is_inside = flat[i], np.float32(flat[i] > threshold)  # a factor, where a branch is no vector
            total += value
            square += value * value
            inside += is_inside
            certain += value * is_inside
        made[b, 0] = elsewhere
        made[b, 1] = inside * pixel_area
        made[b, 2] = certain / max(inside, _ONE)
        made[b, 3] = np.float32(4) * (total - square) / (total + tiny)
        made[b, 4], made[b, 5] = penalty[b], peak
        made[b, 6], made[b, 7] = centres[0, b, peak_row, peak_column], centres[1, b, peak_row, peak_column]
        appearance, weights = made[b, 8:], np.float32(0)
        for row in range(patch):
            for column in range(patch):
                seen_part = np.float32(0)
                for y in range(first + row * step, first + (row + 1) * step):
                    for x in range(first + column * step, first + (column + 1) * step):
                        seen_part += masks[b, y, x]
                weight = seen_part / np.float32(step * step) + least
                weights += weight
                for channel in range(channels):
                    appearance[channel] += patches[b, row, column, channel] * weight
        appearance /= weights
    return made


@compiled()
def moved_states(
    found: np.ndarray,
    state: np.ndarray,
    scale: np.ndarray,
    frame: np.ndarray,
    hold: np.ndarray,
    rate: np.float32,
    smallest: float,
) -> np.ndarray:
    """Move states to the chosen boxes, as `model.tracker.choose.Chooser.update` describes it.

    Args:
        found: float32 [B, 6], as `best_candidates` gives it.
        state, scale, frame, hold: of `Chooser.update`.
        rate: of learning sizes.
        smallest: side of a box, in frame pixels.
    """
    moved = state.copy()
    for b in range(state.shape[0]):
        if hold[b]:
            continue
        share = np.float64(found[b, 1] * found[b, 0] * rate)
        for i in range(2):
            centre = state[b, i] + np.float64(found[b, 2 + i]) / scale[b]
            size = state[b, 2 + i] * (1 - share) + np.float64(found[b, 4 + i]) / scale[b] * share
            moved[b, i] = min(max(centre, 0.0), frame[b, i])
            moved[b, 2 + i] = min(max(size, smallest), frame[b, i])
    return moved
