"""Judge a run's masks against the truth: J and F by frame and object, on the rules of DAVIS or of YouTube-VOS."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from pipeline.evaluate.found import Found, clip_rows, read_clip
from pipeline.evaluate.truth import Frames, Truth
from pipeline.options import UsageError

if TYPE_CHECKING:
    from pipeline.reading import Run

VosRules = Literal["davis", "youtube-vos"]
VOS_RULES: tuple[VosRules, ...] = get_args(VosRules)


@dataclass(frozen=True, slots=True)
class ObjectScores:
    """One object of one sequence.

    Attributes:
        sequence, object_id, category: as the truth has them.
        seen: whether the category is among those of training; None where that is not known.
        frames: the frames judged, in order; `j`, `f`: the measures there, float64.
        still_j: mean J of keeping the object's first true mask.
        missing: judged frames without a row in the output; they count 0.
        why: why rows may be missing, as far as the run says; else "".
        strangers: ids of the clip's objects that the truth has not.
    """

    sequence: str
    object_id: str
    category: str
    seen: bool | None
    frames: tuple[int, ...]
    j: np.ndarray
    f: np.ndarray
    still_j: float
    missing: tuple[int, ...]
    why: str = ""
    strangers: tuple[str, ...] = ()


def judge_vos(
    run: Run, truth: Truth, rules: VosRules = "davis", seen: Mapping[tuple[str, str], bool] | None = None
) -> Iterator[ObjectScores]:
    """Judge every object of the truth, sequence by sequence; one sequence is in memory at a time.

    The run's clips are matched by `clip_id` with the truth's sequences, its objects by `object_id`; where a sequence
    and its clip have one object each, these are the same, whatever their ids. Objects that the truth has not take no
    part.

    Args:
        seen: by sequence and object id, whether the category is among those of training.

    Raises:
        UsageError: no clip is of a sequence of the truth, or a mask is of another size or cannot be read.
        StorageError: a table cannot be read.
    """
    clips = clip_rows(run, truth)
    for sequence, objects in truth.objects.items():
        clip = read_clip(run, clips.get(sequence), objects)
        for scores in judge_sequence(sequence, truth.frames(sequence), clip.frames, rules):
            yield ObjectScores(
                **scores,
                category=objects[scores["object_id"]],
                seen=None if seen is None else seen[sequence, scores["object_id"]],
                why=clip.why,
                strangers=clip.strangers,
            )


def judge_sequence(sequence: str, truth: Frames, found: Found, rules: VosRules) -> list[dict[str, Any]]:
    """Judge one sequence; a dict of an `ObjectScores`' values, but category and seen, for each object.

    Raises:
        UsageError: a mask is of another size than the truth's first, or cannot be read; names sequence, frame and
            object.
    """
    from model.metrics import boundary_f, region_j

    ids = sorted({object_id for objects in truth.values() for object_id in objects})
    ends = (min(truth), max(truth))
    one, rle = next(iter(truth[ends[0]].items()))
    size = _read(rle, f"sequence {sequence}, frame {ends[0]}, object {one}: the truth's mask").shape
    values: dict[str, list[tuple[int, float, float, float, bool]]] = defaultdict(list)
    first: dict[str, np.ndarray] = {}
    for frame, objects in truth.items():
        where = f"sequence {sequence}, frame {frame}"
        true = {one: _decode(rle, size, f"{where}, object {one}: the truth's mask") for one, rle in objects.items()}
        wanted = {one: true.get(one, np.zeros(size, bool)) for one in ids}
        started = {one for one in ids if one in first}
        first.update({one: mask for one, mask in wanted.items() if one not in first and mask.any()})
        if rules == "davis" and frame in ends:
            continue
        said = {
            one: (_decode(rle, size, f"{where}, object {one}: the run's mask"), score)
            for one, (rle, score) in found.get(frame, {}).items()
        }
        masks = fuse(said)
        for one in ids:
            if rules == "youtube-vos" and one not in started:
                continue
            still = first.get(one, np.zeros(size, bool))
            # Before an object is first seen there is nothing to say of it.
            missing = one not in masks and one in first
            mask = masks.get(one, np.zeros(size, bool))
            j, f = (0.0, 0.0) if missing else (region_j(mask, wanted[one]), boundary_f(mask, wanted[one]))
            values[one].append((frame, j, f, region_j(still, wanted[one]), missing))
    return [
        {
            "sequence": sequence,
            "object_id": one,
            "frames": tuple(row[0] for row in values[one]),
            "j": np.array([row[1] for row in values[one]]),
            "f": np.array([row[2] for row in values[one]]),
            "still_j": float(np.mean([row[3] for row in values[one]])) if values[one] else math.nan,
            "missing": tuple(row[0] for row in values[one] if row[4]),
        }
        for one in ids
    ]


def fuse(masks: Mapping[str, tuple[np.ndarray, float]]) -> dict[str, np.ndarray]:
    """Give every pixel to one object: of those that claim it, the one of the highest score in this frame.

    Args:
        masks: bool [H, W], of one size, and score by object id; of equal scores the id that sorts first wins.

    Returns:
        Masks without overlap, bool [H, W], by object id.
    """
    if len(masks) < 2:
        return {one: mask for one, (mask, _) in masks.items()}
    order = sorted(masks, key=lambda one: (-masks[one][1], one))
    taken = np.zeros_like(masks[order[0]][0])
    fused = {}
    for one in order:
        mask = masks[one][0]
        fused[one] = mask & ~taken
        taken |= mask
    return fused


def _read(rle: Mapping[str, Any], what: str) -> np.ndarray:
    """COCO RLE as bool [H, W]; `what` it is, for messages."""
    from model.rle import decode

    try:
        return decode(dict(rle)).astype(bool)
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{what} cannot be read: {error}") from error


def _decode(rle: Mapping[str, Any], size: tuple[int, ...], what: str) -> np.ndarray:
    """COCO RLE of a known size as bool [H, W]; `what` it is, for messages."""
    mask = _read(rle, what)
    if mask.shape != size:
        raise UsageError(f"{what} is of {list(mask.shape)}, but the truth's first of {list(size)}")
    return mask
