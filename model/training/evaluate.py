"""Judge a model by tracking: J and F of DAVIS sequences from their init boxes alone, on one process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model.engine import Engine, TrackOutput
from model.masks import paste
from model.metrics import Statistics, boundary_f, judged_frames, region_j, statistics
from model.network import SiamMask
from model.prepare import Precision
from model.tracker import TrackerParams
from model.training.sources import read_frames, sequence_masks, sequence_rows


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


def load_clips(davis: Path, split: str, names: Sequence[str] = ()) -> Iterator[Clip]:
    """The sequences of a split, all or those named; objects of a frame are taken together.

    Raises ValueError naming a sequence that the split does not have.
    """
    rows = sequence_rows(davis, split)
    unknown = set(names) - {row["sequence"] for row in rows}
    if unknown:
        raise ValueError(f"no {split} sequence {', '.join(sorted(unknown))} in {davis}")
    masks = sequence_masks(davis, split)
    for row in rows:
        if names and row["sequence"] not in names:
            continue
        frames = np.stack(list(read_frames(davis / row["video"])))
        by_frame = masks[row["sequence"]]
        truth = np.zeros(frames.shape[:3], bool)
        for index, objects in by_frame.items():
            truth[index] = np.any(list(objects.values()), axis=0)
        yield Clip(row["sequence"], frames, truth, (row["x"], row["y"], row["w"], row["h"]))


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
    model: SiamMask, params: TrackerParams, clips: Iterator[Clip] | Sequence[Clip], *, precision: Precision = "bf16"
) -> Iterator[Result]:
    """Track and judge clip by clip on the CPU."""
    with Engine(model, params, precision=precision) as engine:
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
