"""Clips that a run's shards have lost, run one by one: each call in an actor that has nothing else to do.

A shard is lost where its actor died twice or its commit failed, which may be the fault of one clip of it, of the
machine, or of the store. Alone, with a few tries and some time between them, the fault is known to be the clip's.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import ray
from ray.exceptions import OutOfMemoryError, RayError, RayTaskError

from pipeline.actor.clip_row import ClipEnding, ClipError, clip_row
from pipeline.actor.run_plan import RunPlan
from pipeline.actor.segmenter import Segmenter
from pipeline.clip import Clip
from pipeline.driver.watch import Watch
from pipeline.output.commit import PartWriter
from pipeline.output.lease import LeaseLost
from pipeline.progress.counts import Counts
from pipeline.storage.scratch import scratch_folder

logger = logging.getLogger(__name__)

POLL_S = 0.5
PAUSES_S = (2.0, 15.0)
"""Before the second and the third try at a clip; after the third its failed row is written."""
MOST_DEVICES_LOST = 9
"""A clip that so many actors lost their devices with is at fault; the first few cost it nothing."""
MOST_FAILED_STARTS = 5
"""So many actors in a row may fail to start before the run is given up."""
WAITING_AN_ACTOR = 4
"""With so many clips for each actor waiting for another try, no further clip is begun."""


@dataclass(slots=True)
class _Try:
    """A clip, how often it was tried and took devices along, and when it may be tried again (`time.monotonic`)."""

    clip: Clip
    tries: int = 0
    devices_lost: int = 0
    due: float = 0.0


@dataclass(frozen=True, slots=True)
class _Actor:
    """A tracker actor's handle, and a reference to its identity, which it sends once it is set up."""

    handle: Any
    identity: Any

    @classmethod
    def start(cls, plan: RunPlan) -> _Actor:
        handle: Any = ray.remote(Segmenter).options(max_restarts=0, **plan.resources).remote(plan)
        return cls(handle, handle.identity.remote())

    def run(self, clip: Clip) -> Any:
        """A reference to the call that runs a clip."""
        return self.handle.run_shard.remote(shard_name(clip), [clip])

    def kill(self) -> None:
        """End the actor, dead or alive."""
        with contextlib.suppress(RayError):
            ray.kill(self.handle)


@dataclass(slots=True)
class _Crew:
    """The actors of the clips that run alone: those that start, those that have nothing to do, and those at work.

    An actor gets a clip once it is up: one whose device is given up never is (see `pipeline.actor.worker_place`), and
    one that the cluster has no room for holds nothing back.
    """

    plan: RunPlan
    starting: dict[Any, _Actor] = field(default_factory=dict)
    idle: list[_Actor] = field(default_factory=list)
    running: dict[Any, tuple[_Actor, _Try]] = field(default_factory=dict)
    failed_starts: int = 0

    def start(self, wanted: int) -> None:
        """Have so many actors starting."""
        while len(self.starting) < wanted:
            actor = _Actor.start(self.plan)
            self.starting[actor.identity] = actor

    def started(self, identity: Any, devices_lost: int) -> None:
        """An actor is up, or has failed to start.

        Raises:
            RuntimeError: too many in a row have failed, beside those that lost their devices.
        """
        actor = self.starting.pop(identity)
        if (error := _error(identity)) is None:
            self.idle.append(actor)
            self.failed_starts = 0
            return
        actor.kill()
        self.failed_starts += 1
        logger.warning("a tracker actor could not be started: %s", str(error).partition("\n")[0])
        if self.failed_starts > MOST_FAILED_STARTS + devices_lost:
            raise RuntimeError(f"tracker actors cannot be started: {_fault(error).message}")

    def close(self) -> None:
        """End all actors."""
        for actor in [*self.starting.values(), *self.idle, *(actor for actor, _ in self.running.values())]:
            actor.kill()


def run_alone(clips: Iterable[Clip], plan: RunPlan, watch: Watch) -> int:
    """Run clips one by one, as many at once as there are actors; one that fails every try becomes a failed row.

    Holds a few clips for each actor, however many there are.

    Returns:
        How many clips were run.

    Raises:
        BreakerOpen: too many clips of the run have failed.
        NoDeviceLeft: every device is given up.
        LeaseLost: another run took the output.
        StorageError: a failed row could not be written.
        RuntimeError: no actor can be started.
    """
    fresh = (_Try(clip) for clip in clips)
    again: list[_Try] = []
    waiting: list[_Try] = []
    crew = _Crew(plan)
    count, most = 0, plan.placement.actors.maximum
    try:
        while True:
            while len(waiting) + len(crew.running) < most and (attempt := _next(again, fresh, most)) is not None:
                waiting.append(attempt)
            while waiting and crew.idle:
                actor, attempt = crew.idle.pop(), waiting.pop(0)
                crew.running[actor.run(attempt.clip)] = actor, attempt
                count += attempt.tries + attempt.devices_lost == 0
            if not waiting and not crew.running and not again:
                watch.look(last=True)
                return count
            crew.start(len(waiting) + watch.control.state.without if waiting else 0)
            pending = [*crew.running, *crew.starting]
            done, _ = ray.wait(pending, num_returns=1, timeout=POLL_S) if pending else ([], [])
            for reference in done:
                if reference in crew.starting:
                    crew.started(reference, sum(device.losses for device in watch.control.state.lost))
                    continue
                actor, attempt = crew.running.pop(reference)
                if (error := _error(reference)) is None:
                    crew.idle.append(actor)
                    continue
                actor.kill()
                _again_or_failed(attempt, error, ray.get(actor.identity), again, plan, watch)
            if not pending:
                time.sleep(POLL_S)
            reason = watch.look()
            if reason is not None:
                raise reason
    finally:
        crew.close()


def shard_name(clip: Clip) -> str:
    """The shard of a clip that is run alone."""
    return f"alone-{clip.clip_hash[:12]}"


def commit_failed(clip: Clip, plan: RunPlan, error: Exception, precision: str, lost: str | None = None) -> None:
    """Commit the failed row of a clip that ended its actor, or whose call failed, each time it was tried alone.

    Args:
        lost: why the actor lost its device, if it did.
    """
    fault = _fault(error)
    if lost is not None:
        text = f"{MOST_DEVICES_LOST + 1} times a device was lost while it worked on this clip alone: {lost}"
        fault = ClipError("actor", "DeviceLost", text)
    row = clip_row(
        clip, ClipEnding(error=fault), started_at=datetime.now(UTC), model=plan.model_name, precision=precision
    )
    logger.warning("clip %s failed: %s, %s", clip.clip_id, fault.error_type, fault.message)
    with scratch_folder() as scratch:
        writer = PartWriter(
            plan.output,
            shard_name(clip),
            run_id=plan.run_id,
            config_hash=plan.config_hash,
            scratch=scratch,
            keep_types=plan.keep_types,
            attempt=plan.attempt,
            leased=plan.leased,
        )
        writer.finish_clip(row, keep_rows=False)
        writer.commit()


def _next(again: list[_Try], fresh: Iterator[_Try], most: int) -> _Try | None:
    """A clip whose pause is over, else one that was not tried yet, unless many wait for another try already."""
    now = time.monotonic()
    for number, attempt in enumerate(again):
        if attempt.due <= now:
            return again.pop(number)
    return next(fresh, None) if len(again) < WAITING_AN_ACTOR * most else None


def _error(call: Any) -> Exception | None:
    try:
        ray.get(call)
    except RayError as error:
        return error
    return None


def _again_or_failed(
    attempt: _Try, error: Exception, identity: tuple[str, str], again: list[_Try], plan: RunPlan, watch: Watch
) -> None:
    cause = getattr(error, "cause", None)
    if isinstance(cause, LeaseLost):
        raise cause
    actor, precision = identity
    lost = watch.control.lost_by(actor)
    if lost is not None and attempt.devices_lost < MOST_DEVICES_LOST:
        attempt.devices_lost += 1
        attempt.due = time.monotonic() + PAUSES_S[0]
        again.append(attempt)
        return
    attempt.tries += 1
    if lost is None and attempt.tries <= len(PAUSES_S):
        pause = PAUSES_S[attempt.tries - 1]
        logger.warning("clip %s, alone: %s; again in %g s", attempt.clip.clip_id, _fault(error).message, pause)
        attempt.due = time.monotonic() + pause
        again.append(attempt)
        return
    commit_failed(attempt.clip, plan, error, precision, lost)
    watch.control.add(Counts(failed=1))


def _fault(error: Exception) -> ClipError:
    if isinstance(error, RayTaskError):  # the call raised, the actor did not die
        cause = getattr(error, "cause", None) or error
        message = next(iter(str(cause).splitlines()), "")  # an exception may have no text
        return ClipError("write", type(cause).__name__, message)
    if isinstance(error, OutOfMemoryError):
        return ClipError("actor", "OutOfMemory", "the node ran out of memory while the clip was tracked alone")
    return ClipError("actor", "ActorDied", "the tracker actor died while it worked on this clip alone")
