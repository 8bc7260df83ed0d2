"""Drive the shards of a plan through tracker actors, with Ray Data.

A shard that Ray Data drops (its actor died twice, or its commit failed) leaves clips without a row, which the driver
finds in the tables and runs again.
"""

from __future__ import annotations

import threading
import time

import ray
from ray.data import ActorPoolStrategy

from pipeline.actor.run_plan import RunPlan
from pipeline.actor.segmenter import Segmenter
from pipeline.driver.output_disk import NoSpaceLeft
from pipeline.driver.watch import Watch
from pipeline.plan.shards import Plan, read_plan

POLL_S = 0.5
STOP_WITHIN_S = 60.0


def run_shards(shards: Plan, plan: RunPlan, watch: Watch, spare_actors: int = 0) -> None:
    """Run every shard of a plan; returns when all have ended, well or not.

    Args:
        spare_actors: beside those of the placement, to stand where devices are given up.

    Raises:
        BreakerOpen: more than ``max_failed`` of the clips finished in this run have failed.
        NoDeviceLeft: every device is given up.
        NoSpaceLeft: the output's disk is full.
        RuntimeError: the Dataset itself failed, or another run took the output.
    """
    outcome: list[BaseException | None] = []
    worker = threading.Thread(target=_consume, args=(shards, plan, spare_actors, outcome), name="dataset", daemon=True)
    worker.start()
    stopping: Exception | None = None
    deadline = float("inf")
    while worker.is_alive() and time.monotonic() < deadline:
        worker.join(POLL_S)
        reason = watch.look()
        if isinstance(reason, NoSpaceLeft):
            raise reason  # shards that end now could not commit either, and try to for minutes
        if stopping is None and reason is not None:
            stopping, deadline = reason, time.monotonic() + STOP_WITHIN_S
        if stopping is not None:  # again and again, for a room that was started anew does not know it
            watch.control.stop()
    stopping = stopping or watch.look(last=True)
    if stopping is not None:
        raise stopping
    if outcome and outcome[0] is not None:
        raise RuntimeError(f"the Dataset of shards failed: {outcome[0]}") from outcome[0]
    watch.control.forget_waiting()


def _consume(shards: Plan, plan: RunPlan, spare_actors: int, outcome: list[BaseException | None]) -> None:
    try:
        for _ in _dataset(shards, plan, spare_actors).iter_rows():
            pass
        outcome.append(None)
    except BaseException as error:
        outcome.append(error)


def _dataset(shards: Plan, plan: RunPlan, spare_actors: int) -> ray.data.Dataset:
    placed = plan.placement
    # A call takes a block, not a row: one row a block makes a shard a call.
    one_a_block = read_plan(shards).repartition(target_num_rows_per_block=1)
    return one_a_block.map_batches(
        Segmenter,
        fn_constructor_args=(plan,),
        batch_size=1,
        batch_format="numpy",
        compute=ActorPoolStrategy(
            min_size=placed.actors.minimum + spare_actors,
            max_size=placed.actors.maximum + spare_actors,
            max_tasks_in_flight_per_actor=placed.calls + 1,  # one waits there, or a place would wait for the driver
            max_concurrent_calls_per_actor=placed.calls,
            enable_true_multi_threading=True,
        ),
        max_restarts=-1,
        max_task_retries=1,
        **plan.resources,
    )
