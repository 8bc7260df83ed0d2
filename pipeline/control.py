"""The control room of a run: a small actor to which the tracker actors report, and the driver's end of it.

Neither may be a weak point: the room lives on the driver's own node, which on any other would be lost with it, and is
started again where its process dies. Then the driver remembers what had been reported.
"""

from __future__ import annotations

import contextlib
import logging
import time
import uuid
from collections.abc import Callable
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.progress import Counts, ProgressDisplay

logger = logging.getLogger(__name__)

BREAKER_AFTER_CLIPS = 20
QUIET_S = 60.0
SOON_S, AT_LAST_S = 0.3, 30.0


class BreakerOpen(Exception):
    """Too many clips failed: the run was stopped. What is committed stays; the rest is resumable."""


class ControlRoom:
    """A small Ray actor that sums up reports and tells the segmenters whether to stop."""

    def __init__(self) -> None:
        self._life = uuid.uuid4().hex
        self._done = Counts()
        self._waiting: dict[str, Counts] = {}
        self._stop = False
        self._last = time.monotonic()

    def report(self, actor: str, done: Counts, waiting: Counts) -> bool:
        """Take an actor's report; True asks it to stop.

        Args:
            actor: its id, which it keeps when it is started again: what its dead self had not committed is void.
            done: what counts for good, since its last report.
            waiting: all that is not committed yet.
        """
        self._last = time.monotonic()
        self._done.add(done)
        self._waiting[actor] = waiting
        return self._stop

    def forget_waiting(self) -> None:
        """No actor works any more: what is not committed is void."""
        self._waiting.clear()

    def counts(self) -> tuple[str, Counts, Counts, float]:
        """Which life of this actor answers, the sums of what is done and of what waits, and for how many seconds
        no tracker actor has reported."""
        waiting = Counts()
        for one in self._waiting.values():
            waiting.add(one)
        return self._life, self._done, waiting, time.monotonic() - self._last

    def stop(self) -> None:
        """Ask every segmenter to stop at its next report."""
        self._stop = True


class Control:
    """The driver's end: starts the room, and knows the counts also when it had to be started again."""

    def __init__(self) -> None:
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self.room: Any = (
            ray.remote(ControlRoom)
            .options(num_cpus=0, max_concurrency=1, max_restarts=-1, max_task_retries=-1, scheduling_strategy=here)
            .remote()
        )
        self._life, self.quiet_s = "", 0.0
        self._asked: Any = None
        self._before, self._done, self._seen = Counts(), Counts(), Counts()

    def counts(self, *, wait_s: float = SOON_S) -> Counts:
        """The sum of all reports; the last known where the room does not answer in time.

        It does not wait long by default: inside of Ray a signal has to wait for its answer.
        """
        self._asked = self._asked or self.room.counts.remote()
        deadline = time.monotonic() + wait_s
        while not ray.wait([self._asked], timeout=SOON_S)[0]:
            if time.monotonic() >= deadline:
                return self._seen
        asked, self._asked = self._asked, None
        with contextlib.suppress(ray.exceptions.ActorUnavailableError):
            life, done, waiting, self.quiet_s = ray.get(asked)
            if life != self._life:
                self._before.add(self._done)
            self._life, self._done = life, done
            self._seen = Counts()
            for part in (self._before, done, waiting):
                self._seen.add(part)
        return self._seen

    def add(self, counts: Counts) -> None:
        """Count what the driver did itself."""
        self._before.add(counts)

    def forget_waiting(self) -> None:
        """No actor works any more: what is not committed is void."""
        self.room.forget_waiting.remote()

    def stop(self) -> None:
        """Ask every segmenter to stop."""
        self.room.stop.remote()


class Watch:
    """What the driver does while actors work: shows the counts, and looks for a reason to stop.

    Args:
        control: where the actors report.
        display: shows progress.
        max_failed: the largest fraction of failed clips.
        lease_lost: true once another run has taken the output.
    """

    def __init__(
        self, control: Control, display: ProgressDisplay, max_failed: float, lease_lost: Callable[[], bool]
    ) -> None:
        self.control = control
        self._display, self._max_failed, self._lease_lost = display, max_failed, lease_lost
        self._warned_s = 0.0

    def look(self, *, last: bool = False) -> Exception | None:
        """Show the counts; returns why the run has to stop, if it has to.

        `BreakerOpen`: more than `max_failed` of the clips finished in this run have failed.
        """
        counts = self.control.counts(wait_s=AT_LAST_S if last else SOON_S)
        self._display.update(counts, last=last)
        self._warn(self.control.quiet_s)
        if self._lease_lost():
            return RuntimeError(
                "another run took over the output while this one was cut off; this run commits nothing more"
            )
        if counts.clips >= BREAKER_AFTER_CLIPS and counts.failed > self._max_failed * counts.clips:
            return BreakerOpen(
                f"{counts.failed} of {counts.clips} clips failed, more than --max-failed {self._max_failed:g} allows"
            )
        return None

    def _warn(self, quiet_s: float) -> None:
        """Every minute in which no actor reports, say so: the run waits, which the counts alone do not tell."""
        if quiet_s < self._warned_s:
            self._warned_s = 0.0
        if quiet_s - self._warned_s >= QUIET_S:
            self._warned_s = quiet_s
            logger.warning(
                "no tracker actor has reported for %.0f s: they are starting, or wait for CPUs or GPUs that the "
                "cluster has not got at the moment",
                quiet_s,
            )
