"""Drive the shards of a plan through tracker actors, with Ray Data, and alone where that lost some.

A shard that Ray Data drops (its actor died twice) leaves clips without a row. Those are run again one by one,
each call in an actor of its own, and only there a death is charged to the clip.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ray
from ray.data import ActorPoolStrategy

from pipeline.clips import Clip
from pipeline.parts import PartWriter
from pipeline.placement import Placement
from pipeline.progress import ControlRoom, Counts, ProgressDisplay
from pipeline.segmenter import RunPlan, Segmenter
from pipeline.shards import Plan, read_plan

logger = logging.getLogger(__name__)

POLL_S = 0.5
BREAKER_AFTER_CLIPS = 20
STOP_WITHIN_S = 60.0


class BreakerOpen(Exception):
    """Too many clips failed: the run was stopped. What is committed stays; the rest is resumable."""


@dataclass(frozen=True, slots=True)
class Execution:
    """What the shards of a run were put through: the counts that actors reported, and the wall time."""

    counts: Counts
    wall_s: float


def start_control() -> Any:
    """Start the run's control room, a small actor that takes no CPU of its own."""
    return ray.remote(ControlRoom).options(num_cpus=0, max_concurrency=1).remote()


def run_shards(
    shards: Plan, plan: RunPlan, display: ProgressDisplay, *, lease_lost: Callable[[], bool] | None = None
) -> Execution:
    """Run every shard of a plan; returns when all have ended, well or not.

    Args:
        shards: the shards, as they were written.
        plan: what actors need.
        display: shows progress.
        lease_lost: called now and then; true ends the run.

    Raises:
        BreakerOpen: more than ``max_failed`` of the clips finished in this run have failed.
        RuntimeError: the Dataset itself failed, or another run took the output.
    """
    started = time.monotonic()
    outcome: list[BaseException | None] = []
    worker = threading.Thread(target=_consume, args=(shards, plan, outcome), name="dataset", daemon=True)
    worker.start()
    counts = Counts()
    stopping: Exception | None = None
    deadline = float("inf")
    while worker.is_alive() and time.monotonic() < deadline:
        worker.join(POLL_S)
        with contextlib.suppress(ray.exceptions.ActorUnavailableError):  # a gap in the network
            counts = ray.get(plan.control.counts.remote())
        display.update(counts)
        if stopping is None:
            stopping = _reason_to_stop(counts, plan, lease_lost)
            if stopping is not None:
                plan.control.stop.remote()
                deadline = time.monotonic() + STOP_WITHIN_S
    counts = ray.get(plan.control.counts.remote())
    display.update(counts, last=True)
    stopping = stopping or _reason_to_stop(counts, plan, lease_lost)
    if stopping is not None:
        raise stopping
    if outcome and outcome[0] is not None:
        raise RuntimeError(f"the Dataset of shards failed: {outcome[0]}") from outcome[0]
    return Execution(counts, time.monotonic() - started)


def run_alone(clips: Iterable[Clip], plan: RunPlan) -> int:
    """Run clips one by one, as many at once as there are actors; a clip that kills its actor becomes a failed row.

    Returns:
        How many clips were run.
    """
    waiting = iter(clips)
    idle: list[Any] = []
    running: dict[Any, tuple[Any, Clip]] = {}
    count = 0
    while True:
        while len(running) < plan.placement.actors.maximum and (clip := next(waiting, None)) is not None:
            actor = idle.pop() if idle else _lone_actor(plan)
            running[actor.run_shard.remote(_lone_shard(clip), [clip])] = (actor, clip)
            count += 1
        if not running:
            return count
        done, _ = ray.wait(list(running), num_returns=1)
        actor, clip = running.pop(done[0])
        try:
            ray.get(done[0])
            idle.append(actor)
        except ray.exceptions.RayError as error:
            ray.kill(actor)
            _fail(clip, plan, error)


def _consume(shards: Plan, plan: RunPlan, outcome: list[BaseException | None]) -> None:
    try:
        for _ in _dataset(shards, plan).iter_rows():
            pass
        outcome.append(None)
    except BaseException as error:
        outcome.append(error)


def _dataset(shards: Plan, plan: RunPlan) -> ray.data.Dataset:
    placed = plan.placement
    # A call takes a block, not a row: one row a block makes a shard a call.
    one_a_block = read_plan(shards).repartition(target_num_rows_per_block=1)
    return one_a_block.map_batches(
        Segmenter,
        fn_constructor_args=(plan,),
        batch_size=1,
        batch_format="numpy",
        compute=ActorPoolStrategy(
            min_size=placed.actors.minimum,
            max_size=placed.actors.maximum,
            max_tasks_in_flight_per_actor=placed.calls,
            max_concurrent_calls_per_actor=placed.calls,
            enable_true_multi_threading=True,
        ),
        max_restarts=-1,
        max_task_retries=1,
        **_resources(placed),
    )


def _resources(placed: Placement) -> dict[str, Any]:
    resources: dict[str, Any] = {"num_cpus": placed.actor_cpus}
    if placed.actor_gpus:
        resources["num_gpus"] = placed.actor_gpus
    return resources


def _reason_to_stop(counts: Counts, plan: RunPlan, lease_lost: Callable[[], bool] | None) -> Exception | None:
    if lease_lost is not None and lease_lost():
        return RuntimeError(
            "another run took over the output while this one was cut off; this run commits nothing more"
        )
    most = plan.options.max_failed
    if counts.clips >= BREAKER_AFTER_CLIPS and counts.failed > most * counts.clips:
        return BreakerOpen(f"{counts.failed} of {counts.clips} clips failed, more than --max-failed {most:g} allows")
    return None


def _lone_shard(clip: Clip) -> str:
    return f"alone-{clip.clip_hash[:12]}"


def _lone_actor(plan: RunPlan) -> Any:
    return ray.remote(Segmenter).options(max_restarts=0, **_resources(plan.placement)).remote(plan)


def _fail(clip: Clip, plan: RunPlan, error: Exception) -> None:
    """Commit the failed row of a clip whose actor died, or whose rows could not be written, with it alone in hand."""
    died = isinstance(error, ray.exceptions.RayActorError)
    now = datetime.now(UTC)
    cause = getattr(error, "cause", None) or error
    said = next(iter(str(cause).splitlines()), "")  # an exception may say nothing
    row = {
        "clip_id": clip.clip_id,
        "video_uri": clip.video_uri,
        "status": "failed",
        "error_stage": "actor" if died else "write",
        "error_type": "ActorDied" if died else type(cause).__name__,
        "error_message": "the tracker actor died while it worked on this clip alone" if died else said,
        "objects": len({start.object_id for start in clip.objects}),
        "start_frame": clip.start_frame,
        "end_frame": clip.end_frame,
        "started_at": now,
        "finished_at": now,
        "clip_hash": clip.clip_hash,
        **clip.keep,
    }
    logger.warning("clip %s failed: %s, %s", clip.clip_id, row["error_type"], row["error_message"])
    with tempfile.TemporaryDirectory() as scratch:
        writer = PartWriter(
            plan.output,
            _lone_shard(clip),
            run_id=plan.run_id,
            config_hash=plan.config_hash,
            scratch=Path(scratch),
            keep_types=plan.keep_types,
            attempt=plan.attempt,
        )
        writer.finish_clip(row, keep_rows=False)
        writer.commit()
