"""What the driver hands to every actor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipeline.actor.engine import EngineBuilder, build_engine
from pipeline.plan.options import SegmentOptions
from pipeline.plan.placement import Placement, actor_resources


@dataclass(frozen=True, slots=True)
class RunPlan:
    """A run as each of its actors sees it.

    Attributes:
        output: where its parts go; `leased`, the output whose lease the run holds.
        model: reference to the checked `RunModel` in the object store.
        model_name: for the ``model`` column.
        control: handle of the run's `ControlRoom`.
        attempt: which try at its clips this run is: one more than that of the rows it forgot.
        keep_types: Arrow types of the manifest columns kept, by name.
        round_number: which of the run's rounds of actors this is; see `ControlRoom.new_round`.
        avoided_nodes: Ray's ids of the nodes whose CPUs are given up.
        build_engine: makes an actor's engine of model, placement and precision.
    """

    options: SegmentOptions
    placement: Placement
    output: str
    leased: str
    run_id: str
    config_hash: str
    model: Any
    model_name: str
    control: Any
    attempt: int
    keep_types: dict[str, Any]
    round_number: int = 0
    avoided_nodes: tuple[str, ...] = ()
    build_engine: EngineBuilder = build_engine

    @property
    def resources(self) -> dict[str, Any]:
        """What Ray is asked for an actor."""
        return actor_resources(self.placement, self.avoided_nodes)
