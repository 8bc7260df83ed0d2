"""Judge a model by tracking: J and F of DAVIS sequences from their init boxes alone, on one process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model.engine import Engine, TrackOutput
from model.masks.finish import paste
from model.metrics import Statistics, boundary_f, judged_frames, region_j, statistics
from model.network import SiamMask
from model.network.inference import Precision
from model.tracker import TrackerParams
from model.tracker.presence import GENERIC, PresenceFit
from model.training.data.sources import sequence_frames, sequence_rows
from model.training.data.tables import Annotation, Annotations, Frames
from model.training.data.training_store import mask_box


@dataclass(frozen=True, slots=True)
class HeldOutClip:
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

    def __iter__(self) -> Iterator[HeldOutClip]:
        for clip in load_clips(self.folder, self.split, self.names):
            yield clip
            if self.both_ways and (box := mask_box(clip.truth[-1])) is not None:
                x, y, w, h = map(float, box)
                yield HeldOutClip(f"{clip.name} backwards", clip.frames[::-1], clip.truth[::-1], (x, y, w, h))


def load_clips(folder: Path, split: str, names: Sequence[str] = ()) -> Iterator[HeldOutClip]:
    """The sequences of a split, all or those named, a clip an object; where there are several, each is named too.

    A clip has the frames of its sequence that have masks, from the object's first on. Its init box is that of its first
    mask, or that of the sequence's row where it has one, there is one object and the first mask is not empty.

    Raises:
        ValueError: the split does not have a sequence of that name, or any, or a sequence cannot be judged.
    """
    rows = sequence_rows(folder, split)
    unknown = set(names) - {row["sequence"] for row in rows}
    if unknown:
        raise ValueError(f"no {split} sequence {', '.join(sorted(unknown))} in {folder}")
    if not rows:
        raise ValueError(f"no {split} sequence in {folder}")
    rows = [row for row in rows if not names or row["sequence"] in names]
    annotations = Annotations(folder, split, [row["sequence"] for row in rows])
    for row in rows:
        labels = annotations.of(row["sequence"])
        indices, starts = judged_objects(labels, f"{folder}: sequence {row['sequence']}")
        frames = np.stack([pixels for _, pixels in sequence_frames(folder, row, indices)])
        alone = len(starts) == 1
        for name, start in starts.items():
            where = f"{folder}: sequence {row['sequence']}, object {name}"
            truth = _truth([labels[index].get(name) for index in indices[start:]], frames.shape[1:3], where)
            label = row["sequence"] if alone else f"{row['sequence']} {name}"
            box = _init_box(row if alone and not start else {}, truth[0])
            yield HeldOutClip(label, frames[start:] if start else frames, truth, box)


def judged_objects(labels: Frames, where: str) -> tuple[list[int], dict[str, int]]:
    """The frames of a sequence that have masks, and its objects, each with the place of its first mask among them.

    An object with a first mask in the last two of them, or with none but empty ones, is left out.

    Raises:
        ValueError: no object is left; starts with `where`.
    """
    frames = sorted(
        index for index, objects in labels.items() if any(annotation.rle is not None for annotation in objects.values())
    )
    starts: dict[str, int] = {}
    for place, index in enumerate(frames[:-2]):
        for name, annotation in labels[index].items():
            if name not in starts and (mask := _mask(annotation, where)) is not None and mask.any():
                starts[name] = place
    if not starts:
        raise ValueError(f"{where} has {len(frames)} frames with masks; three are needed, from an object's first on")
    return frames, dict(sorted(starts.items()))


def _truth(known: Sequence[Annotation | None], size: tuple[int, ...], where: str) -> np.ndarray:
    """The masks of an object, bool [N, H, W], empty where there is none; ValueError, which starts with `where`."""
    truth = np.zeros((len(known), *size), bool)
    for place, annotation in enumerate(known):
        mask = None if annotation is None else _mask(annotation, where)
        if mask is not None and mask.shape != size:
            raise ValueError(f"{where}: a mask of {list(mask.shape)} in frames of {list(size)} (height, width)")
        if mask is not None:
            truth[place] = mask
    return truth


def _mask(annotation: Annotation, where: str) -> np.ndarray | None:
    try:
        return annotation.mask()
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _init_box(row: Mapping[str, Any], first: np.ndarray) -> tuple[float, float, float, float]:
    given = [float(row[side]) for side in "xywh" if row.get(side) is not None]
    x, y, w, h = given if len(given) == 4 else map(float, mask_box(first) or ())
    return x, y, w, h


def track(engine: Engine, clip: HeldOutClip) -> list[TrackOutput]:
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


def judge(clip: HeldOutClip, outputs: Sequence[TrackOutput]) -> Result:
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
    clips: Iterator[HeldOutClip] | Sequence[HeldOutClip],
    *,
    presence: PresenceFit = GENERIC,
    precision: Precision = "bf16",
    device: torch.device | str = "cpu",
) -> Iterator[Result]:
    """Track and judge clip by clip."""
    with Engine(model, params, presence=presence, device=device, precision=precision) as engine:
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
