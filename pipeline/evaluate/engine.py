"""An engine in this process for judging and for TraX, from the same options as a run's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.models import check_model
from pipeline.options import BUNDLED_WEIGHTS, UsageError

if TYPE_CHECKING:
    from model.engine import Engine


def check_rotated_box(rule: str) -> None:
    """Raise UsageError where there is no such rule from mask to box."""
    from model.boxes import check_rule

    try:
        check_rule(rule)
    except ValueError as error:
        raise UsageError(f"--rotated-box: {error}") from error


def open_engine(
    weights: str | None, *, preset: str | None = None, device: str = "auto", precision: str = "fp32", tracks: int = 1
) -> Engine:
    """Load weights and start an engine that steps up to `tracks` tracks together; close it, or use it with `with`.

    Raises:
        UsageError: weights, preset, device or precision cannot be used here.
    """
    import tempfile
    from pathlib import Path

    import torch

    from model.engine import Engine
    from model.prepare import resolve_precision
    from model.tracker import params_from_json
    from model.weights import load_weights

    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"--device {device!r}: expected auto, cpu or cuda")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    elif device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: this machine has no CUDA device")
    try:
        resolved = resolve_precision(precision, device)
    except ValueError as error:
        raise UsageError(f"--precision: {error}") from error
    model = check_model(weights or str(BUNDLED_WEIGHTS), preset)
    with tempfile.TemporaryDirectory(prefix="siammask-weights-") as folder:
        local = Path(folder) / "weights"
        local.write_bytes(model.content)
        network = load_weights(local).model
    return Engine(network, params_from_json(model.tracker), device=device, precision=resolved, max_tracks=tracks)
