"""Choose tracker parameters by tracking sequences of the train split with one model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from model.engine import Engine, TrackOutput
from model.metrics import judged_frames, region_j
from model.network import SiamMask
from model.network.inference import Precision
from model.tracker import PRESETS, TrackerParams
from model.training.evaluate import HeldOutClip, pasted, track

THRESHOLDS = (0.2, 0.3, 0.4, 0.5, 0.6)


@dataclass(frozen=True, slots=True)
class Trial:
    """Parameters and the mean J of each clip, by its name and in the clips' order."""

    params: TrackerParams
    j: Mapping[str, float]

    @property
    def mean(self) -> float:
        return float(np.mean(list(self.j.values())))


def candidates(count: int, seed: int = 1) -> list[TrackerParams]:
    """The published presets, then random parameters up to `count` in all; thresholds are searched apart."""
    rng = np.random.default_rng(seed)
    chosen = [params for params in PRESETS.values() if not params.recovery]
    while len(chosen) < count:
        chosen.append(
            TrackerParams(
                penalty_k=round(float(rng.uniform(0.0, 0.25)), 3),
                window_influence=round(float(rng.uniform(0.15, 0.5)), 3),
                lr=round(float(rng.uniform(0.2, 1.0)), 3),
                mask_threshold=0.5,
            )
        )
    return chosen[:count]


def tune(
    model: SiamMask,
    clips: Iterable[HeldOutClip],
    params: Sequence[TrackerParams],
    *,
    thresholds: Sequence[float] = THRESHOLDS,
    precision: Precision = "bf16",
) -> Iterator[Trial]:
    """Track every clip with each of `params` and judge the masks at every threshold.

    The clips are gone through once for each of `params`. The threshold changes no track of a three-branch network, so
    one pass serves all of them; the boxes of two branches come from the masks, so there each threshold has its own.
    """
    passes = [tuple(thresholds)] if model.anchors_per_cell else [(threshold,) for threshold in thresholds]
    for chosen in params:
        for together in passes:
            scores: dict[float, dict[str, float]] = {threshold: {} for threshold in together}
            with Engine(model, replace(chosen, mask_threshold=together[0]), precision=precision) as engine:
                for clip in clips:
                    outputs = track(engine, clip)
                    for threshold, j_of in scores.items():
                        j_of[clip.name] = _mean_j(clip, outputs, threshold)
            for threshold, j_of in scores.items():
                yield Trial(replace(chosen, mask_threshold=threshold), j_of)


def _mean_j(clip: HeldOutClip, outputs: Sequence[TrackOutput], threshold: float) -> float:
    height, width = clip.frames.shape[1:3]
    return float(
        np.mean(
            [
                region_j(pasted(replace(outputs[index], threshold=threshold), height, width), clip.truth[index])
                for index in judged_frames(len(clip.frames))
            ]
        )
    )
