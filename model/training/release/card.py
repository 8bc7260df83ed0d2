"""The model card: what the shipped weights are, how they were made and what they score."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from model.training.checkpoint import BEST, WEIGHTS
from model.training.config import HELD_OUT
from model.training.evaluate import Result, table
from model.training.release.bundle import NAME

_CARD = """# Model card: {name}

SiamMask with {branches} and {refinement} on {backbone}, {megabytes:.1f} MB in
float16. `python -m model.weights inspect FILE` prints what the file says of itself.{default}

## Licence

{licence}.

The weights follow the terms of what they were trained on; the code around them is MIT. A run records the licence of
its weights in `config.json`.

## What it is for

Tracking and segmenting one object from a box in the first frame, class-agnostic{limits}.

## Figures

{judged}, tracked from their init boxes alone.
J and F on DAVIS rules, first and last frame left out. The last column is what keeping the true mask of the first
frame scores{filled}. Tracker parameters, recorded in the file:
{tracker}. They are those of the published tracker; the file also switches on what
the preset `robust` adds to it, with which these figures were not made.

{table}

{above}

## Training

- Data: {data}.
- Held out of training: {held_out}.{tuned}
- Pairs: {video:.0%} two frames of a video up to {gap} frames apart; {paste:.0%} objects cut out and pasted over other
  pictures; the rest one still seen twice. Template shift ±{template_shift:g} px and scale ±{template_zoom:.0%}; search
  shift ±{search_shift:g} px; turn up to {angle:g}° and stretch up to {stretch:.0%} for
  stills; mirror, colour, blur, grey; other objects pasted beside the tracked one.
  Negative pairs: each search window also answers the template of another pair of its batch.
- Labels and losses of the paper; weights: mask {mask_weight:g} (63x63 and refined masks, summed), box {box_weight:g},
  score {score_weight:g}.
- {origin}; what of the backbone does not train stays as it is, batch norm too.
{runs}
- Averaged weights{machine}.

What each command does is in [training.md](training.md).

```sh
python -m model.training prepare --data {sets} --store STORE
{commands}
python -m model.training tune --weights {run}/weights.safetensors --davis {davis} --out tracker.json{trials}
python -m model.training bundle --run {run} --davis {davis} --tracker tracker.json \\
    --target {target} --card {card}{start}{named}{measured}
```
"""

# What is measured on finished weights and recorded in their file, by the key of the record.
_MEASURED = {
    "presence": "python -m model.training presence --weights FILE --davis ../shared/data/davis --out FILE --odds 2",
    "int8": "python -m model.weights calibrate FILE FILE --video ../shared/data/davis/train --windows 32",
}

_OWN = {
    "default": " It is the default\nof every job; `--weights` takes others.",
    "limits": """, on a CPU or a small GPU. It was
trained briefly on little data: expect less than of the published ResNet-50 model with thin or strongly deforming
objects, and with look-alikes that were not in sight before it was lost""",
    "judged": "DAVIS-2016 at 854x480, the {count} validation sequences in the project's data",
    "filled": "; perfect boxes, filled, would score a J of 0.45",
    "tuned": """ Tracker parameters are the published ones for DAVIS, with
  the mask threshold that does best on these, played forwards and backwards (a search of one candidate, below). The
  best of 20 candidates scored 0.004 more there, and in bfloat16 0.006 more on validation, but let the tracks of
  bfloat16 and float32 part by 0.009 of mean J on validation; for that it was left, and for nothing else did the
  validation sequences make a choice.""",
    "machine": "; on two cores of an AMD EPYC (AVX512-BF16)",
    "sets": "../shared/data",
    "davis": "../shared/data/davis",
    "trials": " \\\n    --both-ways --trials 1",
    "target": f"model/bundled/{NAME}.safetensors",
    "card": "docs/model-card.md",
    "named": "",
}
"""What is so of the bundled model alone."""

_OTHER = {
    **dict.fromkeys(("default", "limits", "filled", "tuned", "machine", "trials"), ""),
    "judged": "{count} validation clips",
    "sets": "SETS",
    "davis": "SET",
    "target": "{name}.safetensors",
    "card": "CARD.md",
    "named": ' \\\n    --name {name} \\\n    --licence "{licence}" \\\n    --data-note "{data}"',
}


def render_card(metadata: Mapping[str, Any], results: Sequence[Result], size: int) -> str:
    """The card as Markdown.

    Args:
        metadata: what the weights file records (`model.training.release.bundle`).
        results: its figures on the validation sequences.
        size: of the file, bytes.
    """
    training = metadata["training"]
    network, pairs, weights = training["network"], training["pairs"], training["weights"]
    bundled = metadata["name"] == NAME
    facts = {key: str(metadata[key]) for key in ("name", "licence", "data")}
    words = {key: text.format(count=len(results), **facts) for key, text in (_OWN if bundled else _OTHER).items()}
    runs = [*metadata.get("before", ()), {"training": training, "steps": metadata["steps"]}]
    return _CARD.format(
        **facts,
        **words,
        branches="three branches (score, box, mask)" if network["variant"] == "three" else "two branches (score, mask)",
        refinement="refinement" if network["refine"] else "no refinement",
        backbone=_BACKBONES[network["backbone"]],
        megabytes=size / 1e6,
        tracker=", ".join(f"{key} {value:g}" for key, value in metadata["tracker"].items() if value is not True),
        table=table(results),
        above=_compared(results),
        held_out=", ".join(training["held_out"]) or "none",
        origin=_ORIGINS[_origin(runs[0], bundled)[0]],
        video=pairs["video_share"],
        paste=pairs["paste_share"],
        gap=pairs["frame_gap"],
        template_shift=pairs["template_shift"],
        template_zoom=pairs["template_zoom"],
        search_shift=pairs["search_shift"],
        angle=pairs["angle"],
        stretch=pairs["stretch"],
        mask_weight=weights["mask"],
        box_weight=weights["box"],
        score_weight=weights["score"],
        runs="\n".join(_told(number, run, len(runs)) for number, run in enumerate(runs)),
        commands="\n".join(_commands(runs, bundled, words["named"])),
        run=_folder(len(runs) - 1, len(runs)),
        start=_start(runs, len(runs) - 1),
        measured="".join(
            f"\n{command}{' --lossless' if metadata[key].get('lossless') else ''}"
            for key, command in _MEASURED.items()
            if key in metadata
        ),
    )


def _told(number: int, run: Mapping[str, Any], count: int) -> str:
    """A run as a line of the card's list."""
    training, steps = run["training"], run["steps"]
    length = f"{steps} steps" if training["steps"] else f"{training['minutes']:g} minutes of wall time, {steps} steps"
    optimiser = "SGD with the published rates" if training.get("schedule") == "published" else "AdamW"
    head = "- " if count == 1 else f"- Run {number + 1}: "
    return (
        f"{head}{optimiser}, batches of {training['batch_size']} pairs, highest rate {training['learning_rate']:g}, "
        f"warm-up and decay over {length} ({steps * training['batch_size']} pairs);\n"
        f"  in the search window scale ±{training['pairs']['search_zoom']:.0%} and another object in "
        f"{training['pairs']['distractor_share']:.0%}; {_mask_terms(training)}{_PRECISIONS[_precision(training)]};\n"
        f"  at a tenth of the rate train, of the backbone, {_stages(training)}."
    )


def _mask_terms(training: Mapping[str, Any]) -> str:
    """What the mask losses have beyond the paper's, or ""."""
    words = {"dice": "a Dice term of {:g}", "outline": "pixels beside the outline count {:g} more"}
    terms = [text.format(value) for name, text in words.items() if (value := training["weights"].get(name, 0.0))]
    return f"mask losses: {', '.join(terms)}; " if terms else ""


def _stages(training: Mapping[str, Any]) -> str:
    shares = [training["unfreeze_at"], *training.get("unfreeze_more", ())]
    stages = [f"stage {4 - number} from {share:.0%} of the run on" for number, share in enumerate(shares) if share < 1]
    return " and ".join(stages) or "nothing"


def _commands(runs: Sequence[Mapping[str, Any]], bundled: bool, named: str) -> Iterator[str]:
    """The command of each run; before one that started from a file that `bundle` made, that command too."""
    for number, run in enumerate(runs):
        if number and _started_from(run) not in (WEIGHTS, BEST):
            before = _folder(number - 1, len(runs))
            made = f"python -m model.training bundle --run {before} --target {before}/{_started_from(run)}"
            yield made + _start(runs, number - 1) + named
        first = " ".join(_origin(run, bundled)).strip()
        origin = _start(runs, number) or (_NEXT + first if first else "")
        yield f"python -m model.training train --store STORE --out {_folder(number, len(runs))}{origin}{_options(run)}"


def _start(runs: Sequence[Mapping[str, Any]], number: int) -> str:
    """The option that names what a run started from, of the run before it; "" for the first."""
    return f"{_NEXT}--start {_folder(number - 1, len(runs))}/{_started_from(runs[number])}" if number else ""


def _started_from(run: Mapping[str, Any]) -> str:
    """Name of the file that a run after the first started from."""
    return run["training"].get("start") or WEIGHTS


def _options(run: Mapping[str, Any]) -> str:
    training = run["training"]
    network = training["network"]
    length = f"--steps {training['steps']}" if training["steps"] else f"--minutes {training['minutes']:g}"
    more_shares = ",".join(f"{share:g}" for share in training.get("unfreeze_more", ()))
    more = [
        *(["--resnet 50"] if network["backbone"] == "resnet50" else []),
        *(["--variant two"] if network["variant"] == "two" else []),
        *([] if network["refine"] else ["--no-refine"]),
        *([f"--stage {training['stage']}"] if training.get("stage", "joint") != "joint" else []),
        *([f"--schedule {training['schedule']}"] if training.get("schedule", "cosine") != "cosine" else []),
        *([f"--unfreeze-more {more_shares}"] if more_shares else []),
        *(
            f"--{name}-weight {value:g}"
            for name in ("dice", "outline")
            if (value := training["weights"].get(name, 0.0))
        ),
        *([] if training["held_out"] else ["--all-sequences"]),
        *([f"--held-out {name}" for name in training["held_out"] if set(training["held_out"]) != set(HELD_OUT)]),
        *([f"--seed {training['seed']}"] if training.get("seed", 1) != 1 else []),
        *(["--precision fp32"] if _precision(training) == "fp32" else []),
    ]
    lines = [
        f"{length} --batch-size {training['batch_size']} --learning-rate {training['learning_rate']:g} "
        f"--unfreeze-at {training['unfreeze_at']:g}",
        f"--mask-weight {training['weights']['mask']:g} --search-zoom {training['pairs']['search_zoom']:g} "
        f"--distractors {training['pairs']['distractor_share']:g}",
        *([" ".join(more)] if more else []),
    ]
    return "".join(_NEXT + line for line in lines)


def _origin(run: Mapping[str, Any], bundled: bool) -> tuple[str, str]:
    """Option and file that a run started from, by its record, or ""; without one the bundled model's was ImageNet's."""
    training = run["training"]
    if start := training.get("start"):
        return "--start", start
    backbone = training.get("backbone", _BACKBONE if bundled else "")
    if not backbone:
        return ("--from-scratch" if backbone is None else ""), ""
    return "--backbone", f"../shared/data/weights/{backbone}" if backbone == _BACKBONE else backbone


def _folder(number: int, count: int) -> str:
    return "RUN" if count == 1 else f"RUN{number + 1}"


def _precision(training: Mapping[str, Any]) -> str:
    return training.get("precision", "bf16")


_NEXT = " \\\n    "  # goes on with a command on the next line
_PRECISIONS = {"bf16": "bfloat16", "fp32": "float32"}
_BACKBONES = {"resnet18": "ResNet-18", "resnet50": "ResNet-50"}
_BACKBONE = "resnet18_imagenet_bnfolded.npz"
_ORIGINS = {
    "--backbone": "Backbone from ImageNet",
    "--start": "From earlier weights",
    "--from-scratch": "From nothing",
    "": "From what was not recorded",
}


def _compared(results: Sequence[Result]) -> str:
    below = [result.name for result in results if result.j.mean <= result.still_j]
    mean, still = np.mean([result.j.mean for result in results]), np.mean([result.still_j for result in results])
    text = f"Mean J {mean:.3f} against {still:.3f} of the first mask kept; "
    return text + (f"not better than that on: {', '.join(below)}." if below else "better on every sequence.")
