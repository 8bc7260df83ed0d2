"""The devices of a run: which of them were lost, how often, and which are given up."""

from __future__ import annotations

from dataclasses import dataclass, replace

GIVEN_UP_AFTER = 3


@dataclass(frozen=True, slots=True)
class DevicePlace:
    """Where an actor's network runs.

    Attributes:
        node_id: Ray's id of the node.
        host: its name and address, for people.
        gpu: index of the GPU on its node; empty for the CPU.
    """

    node_id: str
    host: str
    gpu: str = ""

    def __str__(self) -> str:
        return f"GPU {self.gpu} of node {self.host}" if self.gpu else f"the CPU of node {self.host}"


@dataclass(frozen=True, slots=True)
class LostDevice:
    """A device that was lost at least once.

    Attributes:
        losses: how often in this run.
        in_a_row: how often since an actor on it last committed a clip.
        given_up: no actor works on it any more in this run.
        reason: why it was lost last.
    """

    place: DevicePlace
    losses: int
    in_a_row: int
    given_up: bool
    reason: str

    def __str__(self) -> str:
        times = "once" if self.losses == 1 else f"{self.losses} times"
        ending = " and is given up" if self.given_up else ""
        return f"{self.place} was lost {times}{ending}: {self.reason}"


class DeviceBook:
    """What actors report of their devices. A device that was lost `GIVEN_UP_AFTER` times in a row is given up.

    Attributes:
        lost: the devices that were lost.
        working, without: actors of this round whose devices work, and those whose devices are given up.
    """

    def __init__(self) -> None:
        self.lost: dict[DevicePlace, LostDevice] = {}
        self.working: set[str] = set()
        self.without: set[str] = set()
        self._places: dict[str, DevicePlace] = {}
        self._reasons: dict[str, str] = {}

    def new_round(self) -> None:
        """The actors so far are gone."""
        self.working.clear()
        self.without.clear()

    def begin(self, actor: str, place: DevicePlace) -> bool:
        """An actor is about to use a device; False where that is given up."""
        given_up = place in self.lost and self.lost[place].given_up
        for actors in (self.working, self.without):
            actors.discard(actor)
        (self.without if given_up else self.working).add(actor)
        self._places[actor] = place
        return not given_up

    def lose(self, actor: str, place: DevicePlace, reason: str) -> None:
        """An actor's device works no more, and the actor ends."""
        before = self.lost.get(place) or LostDevice(place, 0, 0, False, "")
        in_a_row = before.in_a_row + 1
        given_up = before.given_up or in_a_row >= GIVEN_UP_AFTER
        self.lost[place] = LostDevice(place, before.losses + 1, in_a_row, given_up, reason)
        self._reasons[actor] = reason

    def report(self, actor: str, *, commits: bool) -> None:
        """An actor is alive; where it has committed clips since its last report, its device works."""
        if actor not in self.without:
            self.working.add(actor)
        place = self._places.get(actor)
        if commits and place in self.lost:
            self.lost[place] = replace(self.lost[place], in_a_row=0)

    def reason(self, actor: str) -> str | None:
        """Why an actor lost its device; None where it did not."""
        return self._reasons.get(actor)
