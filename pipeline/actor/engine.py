"""The engine of one actor, made of the checked model."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pipeline.plan.model import RunModel
from pipeline.plan.placement import Placement

if TYPE_CHECKING:
    from model.engine import Engine

EngineBuilder = Callable[[RunModel, Placement, str], Any]
"""Makes the engine of an actor: a `model.track.object_tracker.TrackingEngine` with `stats`, `close`, `precision`,
`trials` and, where there are any, `device_kind`."""


def build_engine(model: RunModel, placement: Placement, precision: str) -> Engine:
    """Make the engine of one actor from the checked file; `auto` is what this machine computes it fastest in."""
    import torch

    from model.engine import Engine
    from model.network.fastest import chosen_precision
    from model.network.inference import resolve_precision
    from model.tracker import params_from_json
    from model.tracker.presence import presence_of

    if placement.device == "cpu":
        torch.set_num_threads(placement.threads)
    network = model.load()
    if placement.deterministic:
        precision = resolve_precision(precision, placement.device)  # `auto` without a timing
    return Engine(
        network,
        params_from_json(model.tracker),
        presence=presence_of(model.metadata),
        device=placement.device,
        precision=chosen_precision(precision, placement.device, network),
        max_tracks=placement.max_tracks,
        compiled=placement.compiled,
        deterministic=placement.deterministic,
    )
