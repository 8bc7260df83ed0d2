"""What the driver does while actors work: show the counts, and look for a reason to stop."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable

from pipeline.driver.output_disk import OutputDisk
from pipeline.progress.control import AT_LAST_S, SOON_S, Control
from pipeline.progress.devices import DevicePlace, LostDevice
from pipeline.progress.display import ProgressDisplay
from pipeline.progress.prometheus import devices_lost

logger = logging.getLogger(__name__)

BREAKER_AFTER_CLIPS = 20
QUIET_S = 60.0

DevicesLeft = Callable[[Collection[DevicePlace]], bool]
"""Whether any device is left without these."""


class BreakerOpen(Exception):
    """Too many clips failed: the run was stopped. What is committed stays; the rest is resumable."""


class NoDeviceLeft(Exception):
    """Every device that the run could use is given up. What is committed stays; the rest is resumable."""


class Watch:
    """What the driver does while actors work: shows the counts, and looks for a reason to stop.

    Args:
        control: where the actors report.
        display: shows progress.
        max_failed: the largest fraction of failed clips.
        lease_lost: true once another run has taken the output.
        devices_left: whether there is a device beside those that are given up.
        run_id: for the metrics.
        disk: of the output.
    """

    def __init__(
        self,
        control: Control,
        display: ProgressDisplay,
        max_failed: float,
        lease_lost: Callable[[], bool],
        devices_left: DevicesLeft = lambda given_up: True,
        run_id: str = "",
        disk: OutputDisk | None = None,
    ) -> None:
        self.control = control
        self._display, self._max_failed, self._lease_lost = display, max_failed, lease_lost
        self._devices_left, self._run_id, self._disk = devices_left, run_id, disk
        self._lost: dict[DevicePlace, LostDevice] = {}
        self._warned_s = 0.0

    @property
    def given_up(self) -> list[DevicePlace]:
        """The devices that are given up."""
        return [place for place, device in self._lost.items() if device.given_up]

    def look(self, *, last: bool = False) -> Exception | None:
        """Show the counts; returns why the run has to stop, if it has to.

        `BreakerOpen`: more than `max_failed` of the clips finished in this run have failed. `NoDeviceLeft`: all devices
        are given up. `NoSpaceLeft`: the output's disk is full.
        """
        counts = self.control.counts(wait_s=AT_LAST_S if last else SOON_S)
        self._display.update(counts, last=last)
        self._warn(self.control.state.quiet_s)
        if (lost := self._look_at_devices(self.control.state.lost)) is not None:
            return lost
        if self._disk is not None and (full := self._disk.look()) is not None:
            return full
        if self._lease_lost():
            return RuntimeError(
                "another run took over the output while this one was cut off; this run commits nothing more"
            )
        if counts.clips >= BREAKER_AFTER_CLIPS and counts.failed > self._max_failed * counts.clips:
            return BreakerOpen(
                f"{counts.failed} of {counts.clips} clips failed, more than --max-failed {self._max_failed:g} allows"
            )
        return None

    def _look_at_devices(self, lost: Iterable[LostDevice]) -> Exception | None:
        """Say which devices were lost since the last look; returns why the run has to stop, if none is left."""
        before, self._lost = self._lost, {device.place: device for device in lost}
        for place, device in self._lost.items():
            if device.losses != (before[place].losses if place in before else 0):
                logger.warning("%s", device)
        if self._lost != before:
            devices_lost(self._run_id, before.values(), self._lost.values())
        if not self.given_up or self._devices_left(self.given_up):
            return None
        return NoDeviceLeft(
            f"no device is left: {'; '.join(str(device) for device in self._lost.values() if device.given_up)}: "
            "what is committed stays, and the same command resumes once they work"
        )

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
