"""Options that `python -m model.training train` and `jobs/train.py` share, and the settings that they make."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

import typer
from typer import Option

from model.network import SiamMaskConfig
from model.network.siammask import Variant
from model.training.config import HELD_OUT, Schedule, Stage, TrainingConfig, usual_precision
from model.training.data.pairs import PairRules
from model.training.losses import LossWeights

# The published SGD runs at 5e-3; the refinement alone sees objects within 8 px of the centre of its small crops.
_RATES = {"cosine": 1e-3, "published": 5e-3}
_REFINE_SHIFT = 8.0


@dataclass(frozen=True, slots=True)
class Recipe:
    """The network, and how it is trained.

    Raises:
        typer.BadParameter: an option is out of its range, or does not go with another; names it.
    """

    from_scratch: Annotated[
        bool, Option("--from-scratch", help="start from random weights; of the backbone, what is frozen stays random")
    ] = False
    learning_rate: Annotated[
        float | None, Option(help="highest rate [1e-3; 5e-3 with the published schedule]")
    ] = None
    resnet: Annotated[int, Option(help="layers of the backbone: 18 or 50")] = 18
    variant: Annotated[Variant, Option(help="three or two branches")] = "three"
    refine: Annotated[bool, Option(help="have a refinement")] = True
    stage: Annotated[Stage, Option(help="joint, base (no refinement) or refine (the refinement alone)")] = "joint"
    schedule: Annotated[Schedule, Option(help="cosine (AdamW) or published (SGD)")] = "cosine"
    unfreeze_at: Annotated[float, Option(help="share of the run after which stage 4 trains; 1 is never")] = 0.15
    unfreeze_more: Annotated[str, Option(help="the same for stages 3 and 2, with a comma between", metavar="A,B")] = ""
    mask_weight: Annotated[float, Option(help="factor of the mask losses")] = 36.0
    dice_weight: Annotated[float, Option(help="Dice term of the mask losses, beside a logistic loss of 1", min=0)] = 0.0
    outline_weight: Annotated[
        float, Option(help="what pixels beside the outline count more than others in the logistic loss", min=0)
    ] = 0.0
    search_zoom: Annotated[float, Option(help="range of the object's scale in the search window")] = 0.18
    distractors: Annotated[float, Option(help="share of search windows with another object pasted in")] = 0.25
    precision: Annotated[
        Literal["auto", "bf16", "fp32"], Option(help="bf16 (autocast) or fp32; auto is bf16 where the machine has it")
    ] = "auto"
    held_out: Annotated[
        tuple[str, ...], Option(help="sequence to leave out; may be repeated [those of the card]")
    ] = ()
    all_sequences: Annotated[bool, Option("--all-sequences", help="hold no sequence out")] = False
    seed: Annotated[int, Option(help="of all draws")] = 1
    log_every: Annotated[int, Option(help="steps between rows of losses", min=1)] = 20
    validate_every: Annotated[
        int, Option(help="steps between trackings of the held-out sequences; 0 is never")
    ] = 0

    def __post_init__(self) -> None:
        if self.resnet not in (18, 50):
            raise typer.BadParameter(f"--resnet {self.resnet}: expected 18 or 50")
        if self.validate_every and self.all_sequences:
            raise typer.BadParameter("--validate-every tracks the held-out sequences, --all-sequences holds none out")

    def check_origin(self, *, backbone: object, start: object) -> None:
        """Raise typer.BadParameter where a run has two origins, or would have random weights that nobody asked for."""
        if (backbone is not None) + (start is not None) + self.from_scratch > 1:
            raise typer.BadParameter("give one of --backbone, --start and --from-scratch")
        if self.stage == "refine" and not start:
            raise typer.BadParameter("--stage refine trains a refinement for the weights of --start: give them")
        if self.resnet == 50 and backbone:
            raise typer.BadParameter("--backbone is of ResNet-18; a ResNet-50 starts from a checkpoint, --start")
        if not (backbone or start or self.from_scratch):
            first = "--start" if self.resnet == 50 else "--backbone or --start"
            raise typer.BadParameter(f"nothing to start from: give {first}, or --from-scratch for random weights")

    def config(
        self,
        *,
        batch_size: int,
        steps: int,
        workers: int,
        minutes: float = 90.0,
        checkpoint_minutes: float = 5.0,
        checkpoint_steps: int = 0,
    ) -> TrainingConfig:
        """The settings of a run by this recipe; typer.BadParameter where there is no such run."""
        try:
            pairs = PairRules(search_zoom=self.search_zoom, distractor_share=self.distractors)
            if self.stage == "refine":
                pairs = replace(pairs, search_shift=_REFINE_SHIFT)
            refine = self.refine and self.stage != "base"
            return TrainingConfig(
                network=SiamMaskConfig("resnet50" if self.resnet == 50 else "resnet18", self.variant, refine),
                weights=LossWeights(mask=self.mask_weight, dice=self.dice_weight, outline=self.outline_weight),
                pairs=pairs,
                held_out=() if self.all_sequences else self.held_out or HELD_OUT,
                stage=self.stage,
                schedule=self.schedule,
                minutes=minutes,
                steps=steps,
                batch_size=batch_size,
                learning_rate=self.learning_rate or _RATES.get(self.schedule, 1e-3),
                unfreeze_at=self.unfreeze_at,
                unfreeze_more=tuple(float(share) for share in self.unfreeze_more.split(",") if share.strip()),
                precision=usual_precision() if self.precision == "auto" else self.precision,
                seed=self.seed,
                workers=workers,
                log_steps=self.log_every,
                checkpoint_minutes=checkpoint_minutes,
                checkpoint_steps=checkpoint_steps,
                validate_steps=self.validate_every,
            )
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
