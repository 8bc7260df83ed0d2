"""The control room of a run: a small actor to which the tracker actors report, and the driver's end of it.

Neither may be a weak point: the room lives on the driver's own node, which on any other would be lost with it, and is
started again where its process dies. Then the driver remembers what had been reported.
"""

from __future__ import annotations

import contextlib
import logging
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.progress.counts import Counts
from pipeline.progress.devices import DeviceBook, DevicePlace, LostDevice

logger = logging.getLogger(__name__)

SOON_S, AT_LAST_S = 0.3, 30.0


@dataclass(frozen=True, slots=True)
class RoomState:
    """What the room knows.

    Attributes:
        life: which life of the room's actor answers.
        done, waiting: sums of what counts for good, and of what is not committed yet.
        quiet_s: for how many seconds no tracker actor has reported.
        lost: devices that were lost.
        without: actors of this round whose devices are given up.
        steps: by kind of device, what came of trying the ways to compute a step there.
    """

    life: str
    done: Counts
    waiting: Counts
    quiet_s: float
    lost: tuple[LostDevice, ...] = ()
    without: int = 0
    steps: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)


class ControlRoom:
    """A small Ray actor that sums up reports and tells the segmenters whether to stop."""

    def __init__(self) -> None:
        self._life = uuid.uuid4().hex
        self._done = Counts()
        self._waiting: dict[str, Counts] = {}
        self._devices = DeviceBook()
        self._steps: dict[str, Sequence[Mapping[str, Any]]] = {}
        self._round = 0
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
        self._devices.report(actor, commits=done.commits > 0)
        self._done.add(done)
        self._waiting[actor] = waiting
        return self._stop

    def forget_waiting(self) -> None:
        """No actor works any more: what is not committed is void."""
        self._waiting.clear()

    def state(self) -> RoomState:
        """All that the driver asks for again and again."""
        waiting = Counts()
        for counts in self._waiting.values():
            waiting.add(counts)
        quiet_s, devices = time.monotonic() - self._last, self._devices
        lost = tuple(devices.lost.values())
        return RoomState(self._life, self._done, waiting, quiet_s, lost, len(devices.without), self._steps)

    def new_round(self, number: int, lost: Iterable[LostDevice]) -> None:
        """The actors of the rounds before are gone; `lost` is what is known of devices."""
        self._round = number
        self._devices.new_round()
        self._devices.lost |= {device.place: device for device in lost}

    def current_round(self) -> int:
        """The round of the actors that are to work."""
        return self._round

    def begin(self, actor: str, place: DevicePlace) -> bool:
        """Take note of an actor that is about to use a device; False where that is given up."""
        return self._devices.begin(actor, place)

    def note_steps(self, kind: str, trials: Sequence[Mapping[str, Any]]) -> None:
        """Take what came of trying the ways to compute a step on a kind of device."""
        self._steps[kind] = trials

    def others_work(self) -> bool:
        """Whether an actor without a device has others whose devices work, and which are to go on."""
        return bool(self._devices.working) and not self._stop

    def lose(self, actor: str, place: DevicePlace, reason: str) -> None:
        """Take the report of an actor that ends, since its device works no more."""
        self._devices.lose(actor, place, reason)

    def lost_by(self, actor: str) -> str | None:
        """Why an actor lost its device; None where it did not."""
        return self._devices.reason(actor)

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
        self._round = 0
        self._asked: Any = None
        self._before, self._seen = Counts(), Counts()
        self.state = RoomState("", Counts(), Counts(), 0.0)

    def counts(self, *, wait_s: float = SOON_S) -> Counts:
        """The sum of all reports, and `state` brought up to date; the last known where no answer comes in time.

        It does not wait long by default: inside of Ray a signal has to wait for its answer.
        """
        self._asked = self._asked or self.room.state.remote()
        deadline = time.monotonic() + wait_s
        while not ray.wait([self._asked], timeout=SOON_S)[0]:
            if time.monotonic() >= deadline:
                return self._seen
        asked, self._asked = self._asked, None
        with contextlib.suppress(ray.exceptions.ActorUnavailableError):
            state = ray.get(asked)
            if state.life != self.state.life and self.state.life:
                self._before.add(self.state.done)
                self.room.new_round.remote(self._round, self.state.lost)
                state = replace(state, lost=self.state.lost, steps={**self.state.steps, **state.steps})
            self.state = state
            self._seen = Counts()
            for part in (self._before, state.done, state.waiting):
                self._seen.add(part)
        return self._seen

    def new_round(self) -> int:
        """Begin another round of actors, when those of the one before are gone; returns its number."""
        self._round += 1
        ray.get(self.room.new_round.remote(self._round, self.state.lost))
        return self._round

    def lost_by(self, actor: str) -> str | None:
        """Why an actor that ended lost its device; None where it did not."""
        return ray.get(self.room.lost_by.remote(actor))

    def add(self, counts: Counts) -> None:
        """Count what the driver did itself."""
        self._before.add(counts)

    def forget_waiting(self) -> None:
        """No actor works any more: what is not committed is void."""
        self.room.forget_waiting.remote()

    def stop(self) -> None:
        """Ask every segmenter to stop."""
        self.room.stop.remote()
