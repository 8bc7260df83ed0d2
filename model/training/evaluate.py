"""Judge a model by tracking: J and F of DAVIS sequences from their init boxes alone, on one process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model.engine import Engine, TrackOutput
from model.masks import paste
from model.metrics import Statistics, boundary_f, judged_frames, region_j, statistics
from model.network import SiamMask
from model.prepare import Precision
from model.tracker import TrackerParams
from model.training.sources import sequence_frames, sequence_rows
from model.training.store import mask_box
from model.training.tables import Annotations


@dataclass(frozen=True, slots=True)
class Clip:
    """A sequence to judge: frames uint8 [N, H, W, 3] BGR, truth bool [N, H, W], init box x, y, w, h in pixels."""

    name: str
    frames: np.ndarray
    truth: np.ndarray
    box: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Result:
    """One sequence's figures; `still_j` is the mean J of keeping the first frame's mask."""

    name: str
    j: Statistics
    f: Statistics
    still_j: float


@dataclass(frozen=True, slots=True)
class ClipSet:
    """Sequences of a split as clips, read anew each time they are gone through; in memory are one and the next.

    Attributes:
        both_ways: after each clip comes the same clip backwards, from the box of its last mask.
    """

    folder: Path
    split: str
    names: tuple[str, ...] = ()
    both_ways: bool = False

    def __iter__(self) -> Iterator[Clip]:
        for clip in load_clips(self.folder, self.split, self.names):
            yield clip
            if self.both_ways and (box := mask_box(clip.truth[-1])) is not None:
                x, y, w, h = map(float, box)
                yield Clip(f"{clip.name} backwards", clip.frames[::-1], clip.truth[::-1], (x, y, w, h))


def load_clips(folder: Path, split: str, names: Sequence[str] = ()) -> Iterator[Clip]:
    """The sequences of a split, all or those named; objects of a frame are taken together.

    A clip has the frames that have masks. Where the sequence's row has no init box, it is that of the first of them.

    Raises:
        ValueError: the split does not have a sequence of that name, or it has fewer than three frames with masks.
    """
    rows = sequence_rows(folder, split)
    unknown = set(names) - {row["sequence"] for row in rows}
    if unknown:
        raise ValueError(f"no {split} sequence {', '.join(sorted(unknown))} in {folder}")
    rows = [row for row in rows if not names or row["sequence"] in names]
    annotations = Annotations(folder, split, [row["sequence"] for row in rows])
    for row in rows:
        truths: dict[int, np.ndarray] = {}
        for index, objects in annotations.of(row["sequence"]).items():
            masks = [mask for mask in (one.mask() for one in objects.values()) if mask is not None]
            if masks:
                truths[index] = np.any(masks, axis=0)
        if len(truths) < 3:
            raise ValueError(f"{folder}: sequence {row['sequence']} has {len(truths)} frames with masks, not 3")
        frames = np.stack([pixels for _, pixels in sequence_frames(folder, row, truths)])
        truth = np.stack([truths[index] for index in sorted(truths)])
        yield Clip(row["sequence"], frames, truth, _init_box(row, truth[0], folder))


def _init_box(row: dict[str, Any], first: np.ndarray, folder: Path) -> tuple[float, float, float, float]:
    given = [float(row[side]) for side in "xywh" if row.get(side) is not None]
    box = given if len(given) == 4 else mask_box(first)
    if box is None:
        raise ValueError(f"{folder}: sequence {row['sequence']} has no init box and its first mask is empty")
    x, y, w, h = map(float, box)
    return x, y, w, h


def track(engine: Engine, clip: Clip) -> list[TrackOutput]:
    """What the tracker says of every frame of a clip."""
    state, output = engine.init(clip.frames[0], clip.box).result()
    outputs = [output]
    for frame in clip.frames[1:]:
        outputs.append(engine.step(state, frame).result())
    return outputs


def pasted(output: TrackOutput, height: int, width: int) -> np.ndarray:
    """The mask of an output in its frame, bool [height, width]."""
    mask = np.zeros((height, width), bool)
    part = paste(output.mask_probability, output.window, output.threshold, height, width)
    rows, columns = part.pixels.shape
    mask[part.y : part.y + rows, part.x : part.x + columns] = part.pixels
    return mask


def judge(clip: Clip, outputs: Sequence[TrackOutput]) -> Result:
    """Compare a clip's outputs with its truth on DAVIS rules."""
    height, width = clip.frames.shape[1:3]
    judged = judged_frames(len(clip.frames))
    masks = {index: pasted(outputs[index], height, width) for index in judged}
    return Result(
        clip.name,
        statistics([region_j(masks[index], clip.truth[index]) for index in judged]),
        statistics([boundary_f(masks[index], clip.truth[index]) for index in judged]),
        float(np.mean([region_j(clip.truth[0], clip.truth[index]) for index in judged])),
    )


def evaluate(
    model: SiamMask,
    params: TrackerParams,
    clips: Iterator[Clip] | Sequence[Clip],
    *,
    precision: Precision = "bf16",
    device: torch.device | str = "cpu",
) -> Iterator[Result]:
    """Track and judge clip by clip."""
    with Engine(model, params, device=device, precision=precision) as engine:
        for clip in clips:
            yield judge(clip, track(engine, clip))


def table(results: Sequence[Result]) -> str:
    """Figures as a Markdown table, a row a sequence and their mean."""
    lines = [
        "| sequence | J mean | J recall | J decay | F mean | F recall | F decay | first mask kept, J |",
        "|---|---|---|---|---|---|---|---|",
    ]
    rows = [(r.name, r.j.mean, r.j.recall, r.j.decay, r.f.mean, r.f.recall, r.f.decay, r.still_j) for r in results]
    means = np.mean([row[1:] for row in rows], axis=0)
    for name, *values in [*rows, ("**mean**", *means)]:
        lines.append(f"| {name} | " + " | ".join(f"{value:.3f}" for value in values) + " |")
    return "\n".join(lines)
