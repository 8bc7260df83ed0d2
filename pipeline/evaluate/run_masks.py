"""What a run holds of a sequence: its rows under the truth's object ids, and why some may be missing."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline import storage
from pipeline.errors import UsageError
from pipeline.evaluate.truth import Truth

if TYPE_CHECKING:
    from pipeline.reading import Run


class RunMask(NamedTuple):
    """One row: COCO RLE, score, and presence and state, which outputs of 0.2.0 and before do not have."""

    rle: Mapping[str, Any]
    score: float
    presence: float | None = None
    state: str | None = None


RunMasks = Mapping[int, Mapping[str, RunMask]]
"""Rows by frame index and object id."""

_CLIP = ("clip_id", "status", "error_stage", "error_message", "run_id")


@dataclass(frozen=True, slots=True)
class JudgedClip:
    """One clip, as it is judged.

    Attributes:
        frames: its masks, under the truth's object ids.
        strangers: ids of its objects that the truth has not, sorted.
        why: why rows may be missing, as far as the run says; else "".
    """

    frames: RunMasks
    strangers: tuple[str, ...]
    why: str


def named_rows(run: Run, truth: Truth) -> dict[str, dict[str, Any]]:
    """The rows of `clips` that are named like a sequence of the truth, by name.

    Raises:
        UsageError: there is none.
        StorageError: the table cannot be read.
    """
    rows = run.clips(clip_id=list(truth.objects), columns=_CLIP).arrow().to_pylist()
    if not rows:
        clips = run.committed.index["clip_id"].slice(0, 4).to_pylist()
        raise UsageError(
            f"{run.uri}: none of its clips is named like a sequence of {truth.uri}: its clips are called "
            f"{some(clips)}, the sequences {some(truth.objects)}"
        )
    return {row["clip_id"]: row for row in rows}


def read_clip(run: Run, row: Mapping[str, Any] | None, wanted: Iterable[str]) -> JudgedClip:
    """Read a clip's masks.

    Args:
        row: its row of `clips`; None where the run has no such clip.
        wanted: the ids of the truth's objects. Where truth and clip have one object each, these are the same.

    Raises:
        StorageError: a table cannot be read.
    """
    if row is None:
        return JudgedClip({}, (), "the run has no such clip")
    columns = ["object_id", "frame_index", "mask", "score", "presence", "state"]
    rows = run.masks(clip_id=row["clip_id"], columns=columns).arrow().to_pylist()
    own, true = {each["object_id"] for each in rows}, list(wanted)
    known = {next(iter(own)): true[0]} if len(own) == len(true) == 1 else {object_id: object_id for object_id in true}
    frames: dict[int, dict[str, RunMask]] = defaultdict(dict)
    for each in rows:
        if each["object_id"] in known:
            frames[each["frame_index"]][known[each["object_id"]]] = RunMask(*(each[name] for name in columns[2:]))
    return JudgedClip(frames, tuple(sorted(own - set(known))), _why(run.uri, row))


def some(names: Iterable[str]) -> str:
    """The first three names, for a message."""
    first = list(islice(names, 4))
    return ", ".join(first[:3]) + (", …" if len(first) > 3 else "") if first else "(none)"


def _why(output: str, row: Mapping[str, Any]) -> str:
    reasons = []
    if row["status"] != "ok":
        verb = "failed" if row["status"] == "failed" else f"is {row['status']}"
        reasons.append(f"the clip {verb} ({row['error_stage']}: {row['error_message']})")
    if (stride := _stride(output, row["run_id"])) != 1:
        reasons.append(f"the run has --stride {stride}")
    return ", ".join(reasons)


@cache
def _stride(output: str, run_id: str | None) -> int:
    """A run's --stride; 1 where its config cannot be had."""
    try:
        config = json.loads(storage.read_bytes(storage.join(output, "_runs", str(run_id), "config.json")))
        return int(config["options"]["stride"])
    except (storage.StorageError, ValueError, KeyError):
        return 1
