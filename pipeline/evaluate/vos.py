"""Judge a run's masks against the truth: J and F by frame and object, on the rules of DAVIS or of YouTube-VOS."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np

from pipeline.errors import UsageError
from pipeline.evaluate.company import Company, company
from pipeline.evaluate.run_masks import RunMask, RunMasks, named_rows, read_clip
from pipeline.evaluate.truth import Frames, Truth

if TYPE_CHECKING:
    from pipeline.reading import Run

VosRules = Literal["davis", "youtube-vos"]
VOS_RULES: tuple[VosRules, ...] = get_args(VosRules)


class JudgedRow(NamedTuple):
    """An object in a judged frame: whether it is to be seen, and what the run's row says.

    iou: of the row's own mask with the truth, 0 where the object is not to be seen. presence: NaN where the output has
    no such column. is_lost, is_empty: its state, and whether its mask has no pixel. Without a row, score and presence
    are NaN and iou is 0. company: the masks of the other objects beside its own. pixels: that are to be seen of it.
    """

    is_seen: bool
    iou: float = 0.0
    score: float = math.nan
    presence: float = math.nan
    is_lost: bool = False
    is_empty: bool = True
    company: Company = Company()
    pixels: int = 1


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
        rows: what the run said in the judged frames.
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
    rows: tuple[JudgedRow, ...] = ()


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
    clips = named_rows(run, truth)
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


def judge_sequence(sequence: str, truth: Frames, run_masks: RunMasks, rules: VosRules) -> list[dict[str, Any]]:
    """Judge one sequence; a dict of an `ObjectScores`' values, but category and seen, for each object.

    Raises:
        UsageError: a mask is of another size than the truth's first, or cannot be read; names sequence, frame and
            object.
    """
    from model.metrics import boundary_f, region_j

    ids = sorted({object_id for objects in truth.values() for object_id in objects})
    ends = (min(truth), max(truth))
    name, rle = next(iter(truth[ends[0]].items()))
    size = _read(rle, f"sequence {sequence}, frame {ends[0]}, object {name}: the truth's mask").shape
    values: dict[str, list[tuple[int, float, float, float, bool]]] = defaultdict(list)
    rows: dict[str, list[JudgedRow]] = defaultdict(list)
    first: dict[str, np.ndarray] = {}
    for frame, objects in truth.items():
        where = f"sequence {sequence}, frame {frame}"
        true = {name: _decode(rle, size, f"{where}, object {name}: the truth's mask") for name, rle in objects.items()}
        wanted = {name: true.get(name, np.zeros(size, bool)) for name in ids}
        started = {name for name in ids if name in first}
        first.update({name: mask for name, mask in wanted.items() if name not in first and mask.any()})
        if rules == "davis" and frame in ends:
            continue
        claims = {
            name: (_decode(row.rle, size, f"{where}, object {name}: the run's mask"), (row.presence or 0.0, row.score))
            for name, row in run_masks.get(frame, {}).items()
        }
        masks = fuse(claims)
        beside = company({name: mask for name, (mask, _) in claims.items()}, wanted)
        for name in ids:
            if rules == "youtube-vos" and name not in started:
                continue
            still = first.get(name, np.zeros(size, bool))
            # Before an object is first seen there is nothing to say of it.
            missing = name not in masks and name in first
            mask = masks.get(name, np.zeros(size, bool))
            j, f = (0.0, 0.0) if missing else (region_j(mask, wanted[name]), boundary_f(mask, wanted[name]))
            values[name].append((frame, j, f, region_j(still, wanted[name]), missing))
            own = claims[name][0] if name in claims else None
            row = _judged_row(wanted[name], own, run_masks.get(frame, {}).get(name))
            rows[name].append(row._replace(company=beside.get(name, Company())))
    return [
        {
            "sequence": sequence,
            "object_id": name,
            "frames": tuple(row[0] for row in values[name]),
            "j": np.array([row[1] for row in values[name]]),
            "f": np.array([row[2] for row in values[name]]),
            "still_j": float(np.mean([row[3] for row in values[name]])) if values[name] else math.nan,
            "missing": tuple(row[0] for row in values[name] if row[4]),
            "rows": tuple(rows[name]),
        }
        for name in ids
    ]


def _judged_row(truth: np.ndarray, mask: np.ndarray | None, row: RunMask | None) -> JudgedRow:
    from model.metrics import region_j

    pixels = int(np.count_nonzero(truth))
    is_seen = pixels > 0
    if mask is None or row is None:
        return JudgedRow(is_seen, pixels=pixels)
    iou = float(region_j(mask, truth)) if is_seen else 0.0
    presence = math.nan if row.presence is None else row.presence
    return JudgedRow(is_seen, iou, row.score, presence, row.state == "lost", not mask.any(), pixels=pixels)


def fuse(masks: Mapping[str, tuple[np.ndarray, tuple[float, float]]]) -> dict[str, np.ndarray]:
    """Give every pixel to one object: of those that claim it, the likeliest in this frame.

    Args:
        masks: bool [H, W], of one size, with presence and score by object id; the higher presence wins, of equal ones
            the higher score, and of equal ones the id that sorts first.

    Returns:
        Masks without overlap, bool [H, W], by object id.
    """
    if len(masks) < 2:
        return {object_id: mask for object_id, (mask, _) in masks.items()}
    order = sorted(sorted(masks), key=lambda object_id: masks[object_id][1], reverse=True)
    taken = np.zeros_like(masks[order[0]][0])
    fused = {}
    for object_id in order:
        mask = masks[object_id][0]
        fused[object_id] = mask & ~taken
        taken |= mask
    return fused


def _read(rle: Mapping[str, Any], subject: str) -> np.ndarray:
    """COCO RLE as bool [H, W]; `subject` names it in messages."""
    from model.masks.rle import decode

    try:
        return decode(dict(rle)).astype(bool)
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{subject} cannot be read: {error}") from error


def _decode(rle: Mapping[str, Any], size: tuple[int, ...], subject: str) -> np.ndarray:
    """COCO RLE of a known size as bool [H, W]; `subject` names it in messages."""
    mask = _read(rle, subject)
    if mask.shape != size:
        raise UsageError(f"{subject} is of {list(mask.shape)}, but the truth's first of {list(size)}")
    return mask
