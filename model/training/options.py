"""Options that `python -m model.training train` and `jobs/train.py` share, and the settings that they make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, cast

import typer

from model.losses import LossWeights
from model.network import SiamMaskConfig
from model.network.siammask import Backbone
from model.network.siammask import Variant as Variants
from model.training.config import HELD_OUT, Schedule, Stage, TrainingConfig, TrainingPrecision
from model.training.pairs import PairRules

# The published SGD runs at 5e-3; the refinement alone sees objects within 8 px of the centre of its small crops.
_RATES = {"cosine": 1e-3, "published": 5e-3}
_REFINE_SHIFT = 8.0

BatchSize = Annotated[int, typer.Option(help="pairs a step, of all workers together")]
LearningRate = Annotated[float | None, typer.Option(help="highest rate [1e-3; 5e-3 with the published schedule]")]
Resnet = Annotated[int, typer.Option(help="layers of the backbone: 18 or 50")]
Variant = Annotated[str, typer.Option(help="three or two branches")]
Refine = Annotated[bool, typer.Option(help="have a refinement")]
StageName = Annotated[str, typer.Option(help="joint, base (no refinement) or refine (the refinement alone)")]
ScheduleName = Annotated[str, typer.Option(help="cosine (AdamW) or published (SGD)")]
UnfreezeAt = Annotated[float, typer.Option(help="share of the run after which stage 4 trains; 1 is never")]
UnfreezeMore = Annotated[str, typer.Option(help="the same for stages 3 and 2, with a comma between", metavar="A,B")]
MaskWeight = Annotated[float, typer.Option(help="factor of the mask losses")]
SearchZoom = Annotated[float, typer.Option(help="range of the object's scale in the search window")]
Distractors = Annotated[float, typer.Option(help="share of search windows with another object pasted in")]
PrecisionName = Annotated[str, typer.Option(help="bf16 (autocast) or fp32")]
HeldOut = Annotated[list[str] | None, typer.Option(help="sequence to leave out; may be repeated [those of the card]")]
AllSequences = Annotated[bool, typer.Option("--all-sequences", help="hold no sequence out")]
FromScratch = Annotated[
    bool, typer.Option("--from-scratch", help="start from random weights; of the backbone, what is frozen stays random")
]
Seed = Annotated[int, typer.Option(help="of all draws")]
Loaders = Annotated[int, typer.Option(help="processes that make batches, a worker")]
LogEvery = Annotated[int, typer.Option(help="steps between rows of losses", min=1)]
ValidateEvery = Annotated[int, typer.Option(help="steps between trackings of the held-out sequences; 0 is never")]


def check_origin(*, stage: str, resnet: int, backbone: object, start: object, from_scratch: bool) -> None:
    """Raise typer.BadParameter where a run has two origins, or would have random weights that nobody asked for."""
    if (backbone is not None) + (start is not None) + from_scratch > 1:
        raise typer.BadParameter("give one of --backbone, --start and --from-scratch")
    if stage == "refine" and not start:
        raise typer.BadParameter("--stage refine trains a refinement for the weights of --start: give them")
    if resnet == 50 and backbone:
        raise typer.BadParameter("--backbone is of ResNet-18; a ResNet-50 starts from a checkpoint, --start")
    if not (backbone or start or from_scratch):
        first = "--start" if resnet == 50 else "--backbone or --start"
        raise typer.BadParameter(f"nothing to start from: give {first}, or --from-scratch for random weights")


def make_config(
    *,
    resnet: int = 18,
    variant: str = "three",
    refine: bool = True,
    stage: str = "joint",
    schedule: str = "cosine",
    minutes: float = 90.0,
    steps: int = 0,
    batch_size: int = 16,
    learning_rate: float | None = None,
    unfreeze_at: float = 0.15,
    unfreeze_more: str = "",
    mask_weight: float = 36.0,
    search_zoom: float = 0.18,
    distractors: float = 0.25,
    precision: str = "bf16",
    held_out: Sequence[str] | None = None,
    all_sequences: bool = False,
    seed: int = 1,
    workers: int = 1,
    log_steps: int = 20,
    checkpoint_minutes: float = 5.0,
    checkpoint_steps: int = 0,
    validate_steps: int = 0,
) -> TrainingConfig:
    """The settings that the options stand for.

    Raises:
        typer.BadParameter: an option is out of its range; names it.
    """
    if resnet not in (18, 50):
        raise typer.BadParameter(f"--resnet {resnet}: expected 18 or 50")
    if validate_steps and all_sequences:
        raise typer.BadParameter("--validate-every tracks the held-out sequences, --all-sequences holds none out")
    try:
        shares = tuple(float(share) for share in unfreeze_more.split(",") if share.strip())
        pairs = PairRules(search_zoom=search_zoom, distractor_share=distractors)
        if stage == "refine":
            pairs = replace(pairs, search_shift=_REFINE_SHIFT)
        backbone: Backbone = "resnet50" if resnet == 50 else "resnet18"
        return TrainingConfig(
            network=SiamMaskConfig(backbone, cast(Variants, variant), refine and stage != "base"),
            weights=replace(LossWeights(), mask=mask_weight),
            pairs=pairs,
            held_out=() if all_sequences else tuple(held_out or HELD_OUT),
            stage=cast(Stage, stage),
            schedule=cast(Schedule, schedule),
            minutes=minutes,
            steps=steps,
            batch_size=batch_size,
            learning_rate=learning_rate or _RATES.get(schedule, 1e-3),
            unfreeze_at=unfreeze_at,
            unfreeze_more=shares,
            precision=cast(TrainingPrecision, precision),
            seed=seed,
            workers=workers,
            log_steps=log_steps,
            checkpoint_minutes=checkpoint_minutes,
            checkpoint_steps=checkpoint_steps,
            validate_steps=validate_steps,
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
