"""The model card: what the shipped weights are, how they were made and what they score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from model.training.evaluate import Result, table

_CARD = """# Model card: {name}

SiamMask with three branches (score, box, mask) and refinement on ResNet-18, {megabytes:.1f} MB in float16. It is the
default of every job; `--weights` takes others. `python -m model.weights inspect FILE` prints what the file says of
itself.

## Licence

{licence}.

The weights follow the terms of what they were trained on; the code around them is MIT. A run records the licence of
its weights in `config.json`.

## What it is for

Tracking and segmenting one object from a box in the first frame, class-agnostic, on a CPU or a small GPU. It was
trained briefly on little data: expect less than of the published ResNet-50 model with thin or strongly deforming
objects, with look-alikes that cross, and after full occlusion (there is no re-detection).

## Figures

DAVIS-2016 at 854x480, the {count} validation sequences in the project's data, tracked from their init boxes alone.
J and F on DAVIS rules, first and last frame left out. The last column is what keeping the true mask of the first
frame scores; perfect boxes, filled, would score a J of 0.45. Tracker parameters, recorded in the file:
{tracker}.

{table}

{above}

## Training

- Data: {data}.
- Held out of training: {held_out}. Tracker parameters were chosen on these and on four
  hard train sequences; the validation sequences were used for the table above and for no choice.
- Pairs: {video:.0%} two frames of a video up to {gap} frames apart; {paste:.0%} objects cut out and pasted over other
  pictures; the rest one still seen twice. Template shift ±{template_shift:g} px and scale ±{template_zoom:.0%}; search
  shift ±{search_shift:g} px and scale ±{search_zoom:.0%}; turn up to {angle:g}° and stretch up to {stretch:.0%} for
  stills; mirror, colour, blur, grey; other objects pasted beside the tracked one in {distractor:.0%}. Negative pairs:
  each search window also answers the template of another pair of its batch.
- Labels and losses of the paper; weights: mask {mask_weight:g} (63x63 and refined masks, summed), box {box_weight:g},
  score {score_weight:g}. Refinement is trained together with the rest.
- Backbone from ImageNet with batch norm folded in; stem to stage 3 frozen, stage 4 trained from {unfreeze:.0%} of the
  run on at a tenth of the rate.
- AdamW, batches of {batch} pairs, highest rate {rate:g}, warm-up and cosine decay over {minutes:g} minutes of wall
  time; bfloat16; averaged weights. {steps} steps ({pairs} pairs) on two cores of an AMD EPYC (AVX512-BF16) that other
  work shared.

```sh
python -m model.training prepare --data ../shared/data --store STORE
python -m model.training train --store STORE --out RUN \\
    --backbone ../shared/data/weights/resnet18_imagenet_bnfolded.npz \\
    --minutes {minutes:g} --batch-size {batch} --learning-rate {rate:g} --unfreeze-at {unfreeze:g} \\
    --mask-weight {mask_weight:g}
python -m model.training tune --weights RUN/weights.safetensors --davis ../shared/data/davis --out tracker.json \\
    {tuned_on}
python -m model.training bundle --run RUN --davis ../shared/data/davis --tracker tracker.json \\
    --target model/bundled/{name}.safetensors --card docs/model-card.md
```
"""

_ALSO_TUNED_ON = ("bmx-bumps", "dance-jump", "dog-agility", "drift-turn")


def render_card(metadata: Mapping[str, Any], results: Sequence[Result], size: int) -> str:
    """The card as Markdown.

    Args:
        metadata: what the weights file records (`model.training.bundle`).
        results: its figures on the validation sequences.
        size: of the file, bytes.
    """
    training = metadata["training"]
    pairs, weights = training["pairs"], training["weights"]
    return _CARD.format(
        name=metadata["name"],
        megabytes=size / 1e6,
        licence=metadata["licence"],
        count=len(results),
        tracker=", ".join(f"{key} {value:g}" for key, value in metadata["tracker"].items()),
        table=table(results),
        above=_compared(results),
        data=metadata["data"],
        held_out=", ".join(training["held_out"]) or "none",
        tuned_on=" \\\n    ".join(f"--sequence {name}" for name in sorted([*training["held_out"], *_ALSO_TUNED_ON])),
        video=pairs["video_share"],
        paste=pairs["paste_share"],
        gap=pairs["frame_gap"],
        template_shift=pairs["template_shift"],
        template_zoom=pairs["template_zoom"],
        search_shift=pairs["search_shift"],
        search_zoom=pairs["search_zoom"],
        angle=pairs["angle"],
        stretch=pairs["stretch"],
        distractor=pairs["distractor_share"],
        mask_weight=weights["mask"],
        box_weight=weights["box"],
        score_weight=weights["score"],
        unfreeze=training["unfreeze_at"],
        batch=training["batch_size"],
        rate=training["learning_rate"],
        minutes=training["minutes"],
        steps=metadata["steps"],
        pairs=metadata["steps"] * training["batch_size"],
    )


def _compared(results: Sequence[Result]) -> str:
    below = [result.name for result in results if result.j.mean <= result.still_j]
    mean, still = np.mean([result.j.mean for result in results]), np.mean([result.still_j for result in results])
    text = f"Mean J {mean:.3f} against {still:.3f} of the first mask kept; "
    return text + (f"not better than that on: {', '.join(below)}." if below else "better on every sequence.")
