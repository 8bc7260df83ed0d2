"""An engine in this process for judging and for TraX, from the same options as a run's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from typer import Option

from pipeline.errors import UsageError

if TYPE_CHECKING:
    from model.engine import Engine


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """The options of a tracker without a run."""

    weights: Annotated[
        str | None, Option(help="Our safetensors or a public SiamMask .pth [the bundled model].", metavar="URI")
    ] = None
    preset: Annotated[
        str | None, Option(help="Tracker: vot, vot18, davis, robust or a JSON file [the weights' own].")
    ] = None
    device: Annotated[str, Option(help="auto, cpu or cuda.")] = "auto"
    precision: Annotated[str, Option(help="auto, fp32, bf16 or fp16.")] = "fp32"
    rotated_box: Annotated[str, Option(help="minmax, mbr, opt or ellipse.")] = "mbr"

    def check_rotated_box(self) -> None:
        """Raise UsageError where there is no such rule from mask to box."""
        from model.masks.rotated_box import check_rule

        try:
            check_rule(self.rotated_box)
        except ValueError as error:
            raise UsageError(f"--rotated-box: {error}") from error


def open_engine(options: EngineOptions, *, tracks: int = 1) -> Engine:
    """Load weights and start an engine that steps up to `tracks` tracks together; close it, or use it with `with`.

    Raises:
        UsageError: weights, preset, device or precision cannot be used here.
    """
    import torch

    from model.engine import Engine
    from model.network.fastest import chosen_precision
    from model.tracker import params_from_json
    from model.tracker.presence import presence_of
    from pipeline.plan.model import check_model
    from pipeline.plan.options import BUNDLED_WEIGHTS

    device = options.device
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"--device {device!r}: expected auto, cpu or cuda")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    elif device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: this machine has no CUDA device")
    model = check_model(options.weights or str(BUNDLED_WEIGHTS), options.preset)
    network = model.load()
    try:
        precision = chosen_precision(options.precision, device, network)
        return Engine(
            network,
            params_from_json(model.tracker),
            presence=presence_of(model.metadata),
            device=device,
            precision=precision,
            max_tracks=tracks,
        )
    except ValueError as error:
        raise UsageError(f"--precision {options.precision}: {error}") from error
