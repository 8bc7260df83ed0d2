"""Where this actor's process runs, and how it gives way where its device is given up."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
import warnings
from typing import Any, NoReturn

from pipeline.actor.run_plan import RunPlan
from pipeline.progress.devices import DevicePlace

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
ASIDE_S = 120.0
REPORT_WITHIN_S = 5.0


def actor_id() -> str:
    """The id of this actor, which it keeps when it is started again."""
    import ray

    return ray.get_runtime_context().get_actor_id() or "none"


def started_again() -> bool:
    """Whether this actor was started again after its process ended."""
    import ray

    with warnings.catch_warnings():  # Ray's own property warns of another one that it uses
        warnings.simplefilter("ignore")
        return bool(ray.get_runtime_context().was_current_actor_reconstructed)


def device_place(device: str) -> DevicePlace:
    """Where this actor's network runs: the GPU that Ray gave it, or the CPU of its node."""
    import ray

    context = ray.get_runtime_context()
    gpus = context.get_accelerator_ids().get("GPU", []) if device == "cuda" else []
    host = f"{socket.gethostname()} ({ray.util.get_node_ip_address()})"
    return DevicePlace(context.get_node_id(), host, ",".join(map(str, gpus)))


def begin(plan: RunPlan, place: DevicePlace) -> bool:
    """Tell the control room that this actor is about to use its device; False where it is given up.

    Either way the actor keeps the device from others: Ray does not let one be left out. A new actor, which has no
    calls, never returns from here. One that was started again has to answer its calls (see `stand_aside`).
    """
    import ray

    if ray.get(plan.control.begin.remote(actor_id(), place)):
        return True
    logger.warning("%s is given up: this actor only keeps others from it", place)
    with contextlib.suppress(ray.exceptions.RayError):
        while not started_again() and ray.get(plan.control.current_round.remote()) == plan.round_number:
            time.sleep(LOOK_EVERY_S)
    return False


def stand_aside(plan: RunPlan) -> None:
    """Keep a call that cannot be done here, for a while, or until no other actor has a device, or the run stops.

    Its shard is left to the next round. An actor that gave calls back at once would be given all of them.
    """
    import ray

    until = time.monotonic() + ASIDE_S
    while time.monotonic() < until and ray.get(plan.control.others_work.remote()):
        time.sleep(LOOK_EVERY_S)


def lose(plan: RunPlan, place: DevicePlace, reason: str) -> NoReturn:
    """Report that the device is lost, and end this process, which Ray starts again."""
    import ray

    logger.error("%s is lost: %s: its actor ends, and what it was working on runs again", place, reason)
    report: Any = plan.control.lose.remote(actor_id(), place, reason)
    with contextlib.suppress(Exception):
        ray.get(report, timeout=REPORT_WITHIN_S)
    os._exit(1)
