"""Clips that a run's shards have lost, run one by one: each call in an actor that has nothing else to do.

A shard is lost where its actor died twice or its commit failed, which may be the fault of one clip of it, of the
machine, or of the store. Alone, with a few tries and some time between them, the fault is known to be the clip's.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import ray
from ray.exceptions import OutOfMemoryError, RayError, RayTaskError

from pipeline.clips import Clip
from pipeline.control import Watch
from pipeline.lease import LeaseLost
from pipeline.parts import PartWriter
from pipeline.placement import Placement
from pipeline.progress import Counts
from pipeline.scratch import scratch_folder
from pipeline.segmenter import RunPlan, Segmenter

logger = logging.getLogger(__name__)

POLL_S = 0.5
PAUSES_S = (2.0, 15.0)
"""Before the second and the third try at a clip; after the third its failed row is written."""
WAITING_AN_ACTOR = 4
"""With so many clips for each actor waiting for another try, no further clip is begun."""


@dataclass(slots=True)
class _Try:
    """A clip, how often it was tried, and when it may be tried again (`time.monotonic`)."""

    clip: Clip
    tries: int = 0
    due: float = 0.0


def run_alone(clips: Iterable[Clip], plan: RunPlan, watch: Watch) -> int:
    """Run clips one by one, as many at once as there are actors; one that fails every try becomes a failed row.

    Holds a few clips for each actor, however many there are.

    Returns:
        How many clips were run.

    Raises:
        BreakerOpen: too many clips of the run have failed.
        LeaseLost: another run took the output.
        StorageError: a failed row could not be written.
    """
    fresh = (_Try(clip) for clip in clips)
    again: list[_Try] = []
    idle: list[Any] = []
    running: dict[Any, tuple[Any, _Try]] = {}
    count, most = 0, plan.placement.actors.maximum
    try:
        while True:
            while len(running) < most and (one := _next(again, fresh, most)) is not None:
                actor = idle.pop() if idle else _actor(plan)
                running[actor.run_shard.remote(shard_name(one.clip), [one.clip])] = actor, one
                count += one.tries == 0
            if not running and not again:
                watch.look(last=True)
                return count
            done, _ = ray.wait(list(running), num_returns=1, timeout=POLL_S) if running else ([], [])
            for call in done:
                actor, one = running.pop(call)
                if (error := _error(call)) is None:
                    idle.append(actor)
                    continue
                ray.kill(actor)
                _again_or_failed(one, error, again, plan, watch)
            if not running:
                time.sleep(POLL_S)
            reason = watch.look()
            if reason is not None:
                raise reason
    finally:
        for actor in [*idle, *(actor for actor, _ in running.values())]:
            with contextlib.suppress(RayError):
                ray.kill(actor)


def shard_name(clip: Clip) -> str:
    """The shard of a clip that is run alone."""
    return f"alone-{clip.clip_hash[:12]}"


def commit_failed(clip: Clip, plan: RunPlan, error: Exception) -> None:
    """Commit the failed row of a clip that ended its actor, or whose call failed, each time it was tried alone."""
    stage, kind, message = _fault(error)
    now = datetime.now(UTC)
    row = {
        "clip_id": clip.clip_id,
        "video_uri": clip.video_uri,
        "status": "failed",
        "error_stage": stage,
        "error_type": kind,
        "error_message": message,
        "objects": len({start.object_id for start in clip.objects}),
        "start_frame": clip.start_frame,
        "end_frame": clip.end_frame,
        "started_at": now,
        "finished_at": now,
        "clip_hash": clip.clip_hash,
        **clip.keep,
    }
    logger.warning("clip %s failed: %s, %s", clip.clip_id, kind, message)
    with scratch_folder() as scratch:
        writer = PartWriter(
            plan.output,
            shard_name(clip),
            run_id=plan.run_id,
            config_hash=plan.config_hash,
            scratch=scratch,
            keep_types=plan.keep_types,
            attempt=plan.attempt,
        )
        writer.finish_clip(row, keep_rows=False)
        writer.commit()


def actor_resources(placed: Placement) -> dict[str, Any]:
    """What Ray is asked for a tracker actor."""
    resources: dict[str, Any] = {"num_cpus": placed.actor_cpus}
    if placed.actor_gpus:
        resources["num_gpus"] = placed.actor_gpus
    if placed.actor_labels:
        resources["label_selector"] = dict(placed.actor_labels)
    return resources


def _next(again: list[_Try], fresh: Iterator[_Try], most: int) -> _Try | None:
    """A clip whose pause is over, else one that was not tried yet, unless many wait for another try already."""
    now = time.monotonic()
    for number, one in enumerate(again):
        if one.due <= now:
            return again.pop(number)
    return next(fresh, None) if len(again) < WAITING_AN_ACTOR * most else None


def _actor(plan: RunPlan) -> Any:
    return ray.remote(Segmenter).options(max_restarts=0, **actor_resources(plan.placement)).remote(plan)


def _error(call: Any) -> Exception | None:
    try:
        ray.get(call)
    except RayError as error:
        return error
    return None


def _again_or_failed(one: _Try, error: Exception, again: list[_Try], plan: RunPlan, watch: Watch) -> None:
    cause = getattr(error, "cause", None)
    if isinstance(cause, LeaseLost):
        raise cause
    one.tries += 1
    if one.tries <= len(PAUSES_S):
        pause = PAUSES_S[one.tries - 1]
        logger.warning("clip %s, alone: %s; again in %g s", one.clip.clip_id, _fault(error)[2], pause)
        one.due = time.monotonic() + pause
        again.append(one)
        return
    commit_failed(one.clip, plan, error)
    watch.control.add(Counts(failed=1))


def _fault(error: Exception) -> tuple[str, str, str]:
    """Stage, type and message of the failed row."""
    if isinstance(error, RayTaskError):  # the actor lives, its call raised
        cause = getattr(error, "cause", None) or error
        return "write", type(cause).__name__, next(iter(str(cause).splitlines()), "")  # an exception may say nothing
    if isinstance(error, OutOfMemoryError):
        return "actor", "OutOfMemory", "the node ran out of memory while the clip was tracked alone"
    return "actor", "ActorDied", "the tracker actor died while it worked on this clip alone"
