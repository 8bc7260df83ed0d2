"""Whether the masks of a frame's objects lie on one another, or on another object than their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

ON_ONE_PLACE = 0.5
"""Two masks of a greater IoU are at one place; a mask covers an object from that IoU on."""


class Company(NamedTuple):
    """One object's mask among those of the others in its frame.

    others: how many have a mask. overlapping: how many of these lie on its own. has_swapped: whether it covers another
    object, and its own less than that.
    """

    others: int = 0
    overlapping: int = 0
    has_swapped: bool = False


def company(masks: Mapping[str, np.ndarray], truth: Mapping[str, np.ndarray]) -> dict[str, Company]:
    """The company of each mask.

    Args:
        masks: bool [H, W], of one size, by object id: what a run says.
        truth: the same of the truth; an object may have no mask there, or an empty one.
    """
    if len(masks) < 2:
        return dict.fromkeys(masks, Company())
    names, true_names = list(masks), list(truth)
    said, true = (np.stack([each.ravel() for each in side.values()]).astype(np.float32) for side in (masks, truth))
    together = _overlaps(said, said) > ON_ONE_PLACE
    covered = _overlaps(said, true)
    result = {}
    for place, name in enumerate(names):
        own = covered[place, true_names.index(name)] if name in truth else 0.0
        has_swapped = bool(covered[place].max() >= ON_ONE_PLACE and covered[place].max() > own)
        overlapping = int(together[place].sum() - together[place, place])
        result[name] = Company(len(names) - 1, overlapping, has_swapped)
    return result


def _overlaps(masks: np.ndarray, others: np.ndarray) -> np.ndarray:
    """IoU of each of float32 [N, P] with each of [K, P], float32 [N, K]; 0 of two empty ones."""
    shared = masks @ others.T
    return shared / np.maximum(masks.sum(1)[:, None] + others.sum(1) - shared, 1)
