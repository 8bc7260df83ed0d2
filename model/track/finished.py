"""What becomes of a frame's answers: masks and rotated boxes, and which objects are lost.

It imports no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from model.masks.finish import FinishedMask, finish
from model.track.object_tracker import ObjectAnswer
from model.tracker.params import TrackerParams
from model.tracker.presence import LOST_BELOW

TrackingState = Literal["tracked", "lost"]
_ONE_PLACE = 0.5  # masks with a greater IoU are at one place


@dataclass(frozen=True, slots=True)
class FinishedObject:
    """One object on one frame, as a row of `masks` has it.

    Attributes:
        bbox: x, y, w, h in pixels: the tracker's, or that of the mask.
        presence: the answer's, less where other objects are at the same place: only one of them can be right.
        state: "lost" where the presence is below `LOST_BELOW`, or the object is searched for.
    """

    answer: ObjectAnswer
    mask: FinishedMask
    bbox: NDArray[np.float64]
    presence: float
    state: TrackingState


def finish_objects(
    answers: Sequence[ObjectAnswer], height: int, width: int, rule: str, params: TrackerParams
) -> list[FinishedObject]:
    """Finish the answers of one frame, in their order.

    Args:
        height, width: the frame's size in pixels.
        rule: how a mask becomes a rotated box.
        params: the tracker's. Where objects are chosen together, masks at one place are divided, each pixel to the
            object whose box's centre is nearer; a lost object leaves its pixels to those that are tracked.

    Raises:
        TrackError: an answer cannot be finished.
    """
    masks = [_finished(answer, height, width, rule) for answer in answers]
    presences = np.array([answer.presence for answer in answers])
    if len(answers) > 1:
        overlaps = _overlaps(masks)
        if params.joint and (together := np.triu(overlaps, 1) > _ONE_PLACE).any():
            places = np.flatnonzero(together.any(0) | together.any(1)).tolist()
            divided = divide([answers[place] for place in places])
            for place, answer in zip(places, divided, strict=True):
                masks[place] = _finished(answer, height, width, rule)
            lost = np.array([answer.is_lost for answer in answers])
            overlaps = np.where(lost[:, None], overlaps, _overlaps(masks))
        presences = shared_presence(presences, overlaps)
    return [
        FinishedObject(
            answer,
            mask,
            _bbox(answer, mask, params),
            presence,
            "lost" if answer.is_searched or presence < LOST_BELOW else "tracked",
        )
        for answer, mask, presence in zip(answers, masks, presences.tolist(), strict=True)
    ]


def shared_presence(presence: NDArray[np.float64], overlap: NDArray[np.float64]) -> NDArray[np.float64]:
    """Presence [n] where the objects at one place share one: a sum above 1 is brought down to 1.

    An object of which the presence is certain (1, as on its init frame) keeps it.

    Args:
        overlap: [n, n], IoU of the masks of each two objects, 1 on the diagonal.
    """
    together = (overlap > _ONE_PLACE) | np.eye(len(presence), dtype=bool)
    shared = presence / np.maximum(together @ presence, 1)
    return np.where(presence == 1, 1.0, shared)


def _bbox(answer: ObjectAnswer, mask: FinishedMask, params: TrackerParams) -> NDArray[np.float64]:
    if params.mask_box and mask.area and not answer.is_start:
        return np.asarray(coco.toBbox(mask.rle), np.float64)
    return answer.box


def divide(answers: Sequence[ObjectAnswer]) -> list[ObjectAnswer]:
    """The answers with masks that end where another of these objects is nearer, in sizes of its box.

    Where some are tracked, they alone are divided among, and the masks of the lost ones are empty.
    """
    lost = np.array([answer.is_lost for answer in answers])
    further = np.where(lost & ~lost.all(), np.inf, 0.0)
    boxes = np.stack([answer.box for answer in answers])
    centres, sizes = boxes[:, :2] + boxes[:, 2:] / 2, np.sqrt(np.maximum(boxes[:, 2:].prod(1), 1.0))
    cut = []
    for place, answer in enumerate(answers):
        probability = answer.output.mask_probability
        x, y, width, height = answer.output.window
        steps = (np.arange(len(probability)) + 0.5) / len(probability)
        columns, rows = x + steps * width, y + steps * height
        across, down = columns - centres[:, :1], rows - centres[:, 1:]
        distance = (across[:, None] ** 2 + down[:, :, None] ** 2) / sizes[:, None, None] ** 2
        own = np.where((distance + further[:, None, None]).argmin(0) == place, probability, np.float32(0))
        cut.append(replace(answer, output=replace(answer.output, mask_probability=own)))
    return cut


def _finished(answer: ObjectAnswer, height: int, width: int, rule: str) -> FinishedMask:
    try:
        return finish(answer.output, height, width, rule)
    except Exception as error:
        raise answer.failed(error) from error


def _overlaps(masks: Sequence[FinishedMask]) -> NDArray[np.float64]:
    rles = [mask.rle for mask in masks]
    return np.asarray(coco.iou(rles, rles, [0] * len(rles)))
