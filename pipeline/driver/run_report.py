"""What a run leaves to read: `config.json`, the report, and the last line."""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Collection, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from pipeline import storage
from pipeline.job import FAILED, FINISHED, INTERRUPTED, STRICT_FAILED
from pipeline.output.index import OutputIndex
from pipeline.plan.prepare import Prepared, config
from pipeline.plan.todo import finished_clips
from pipeline.progress.control import RoomState
from pipeline.progress.counts import Counts
from pipeline.progress.devices import LostDevice
from pipeline.report import FigureReader, Figures, RunFacts, write_report

logger = logging.getLogger(__name__)


class RunReport:
    """Gathers the figures of a run and writes them.

    Attributes:
        reader: takes the figures as the output's parts are read.
        counts: what the actors reported.
        replaced: clips whose rows were replaced, since their range or objects changed.
    """

    def __init__(self, prepared: Prepared) -> None:
        self._prepared, self._options = prepared, prepared.options
        self.reader = FigureReader(prepared.run_id, self._options.stride, self._options.report_clips)
        self.counts = Counts()
        self._lost_devices: Collection[LostDevice] = ()
        self._steps: Mapping[str, Any] = {}
        self.replaced = 0
        self._began = time.monotonic()

    def write_config(self) -> None:
        """Write `config.json`."""
        self._write_json("config.json", self._config())

    def _config(self) -> dict[str, Any]:
        return {**config(self._prepared), **({"steps": self._steps} if self._steps else {})}

    def note_devices(self, state: RoomState) -> None:
        """Take the devices that were lost in this run, and how those there are compute a step: for `config.json`."""
        self._lost_devices = state.lost
        if state.steps:
            self._steps = state.steps
            self.write_config()

    def conclude(self, index: OutputIndex) -> int:
        """Check that every clip has exactly one row, write the report, print the last line."""
        prepared = self._prepared
        have, left = finished_clips(prepared, index)
        if left or have.duplicates(1):
            fault = f"{left} clips of the manifest have no row" if left else "a clip has more than one row"
            raise RuntimeError(f"{fault} in {storage.redact(prepared.output)}/clips: run the same command again")
        figures = self._figures(index)
        bad = figures.clips["failed"] + figures.clips["partial"]
        status = STRICT_FAILED if self._options.strict and bad else FINISHED
        self.write(index, status, figures)
        clips = figures.clips
        print(
            f"{clips['total']} clips: {clips['ok']} ok, {clips['partial']} partial, {clips['failed']} failed; "
            f"{figures.frames} frames in {storage.redact(prepared.output)}"
            + (f"; {self.replaced} replaced" if self.replaced else ""),
            flush=True,
        )
        return status

    def write(self, index: OutputIndex, status: int, figures: Figures | None = None) -> None:
        """Write the report. The tables are whole without it: what goes wrong here is a warning."""
        if not self._options.report:
            return
        prepared = self._prepared
        run = {
            "run_id": prepared.run_id,
            "exit_status": status,
            "replaced": self.replaced,
            "output": storage.redact(prepared.output),
            "started_at": prepared.started_at.isoformat(timespec="seconds"),
            "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        try:
            if figures is None:
                index.refresh()
                figures = self._figures(index)
            # A failed run ends at once, and may have no Ray any more to draw with.
            write_report(prepared.output, figures, run=run, config=self._config(), gallery=status != FAILED)
        except Exception as error:
            logger.warning("the run has no report: %s", error)

    def note_interrupt(self) -> None:
        """Leave the exit status where scripts look for it; the figures are for the run that ends the work."""
        with contextlib.suppress(storage.StorageError):
            run_id, now = self._prepared.run_id, datetime.now(UTC).isoformat(timespec="seconds")
            self._write_json("report.json", {"run_id": run_id, "exit_status": INTERRUPTED, "finished_at": now})

    def _figures(self, index: OutputIndex) -> Figures:
        prepared = self._prepared
        facts = RunFacts(
            prepared.run_id,
            stride=self._options.stride,
            wall_s=time.monotonic() - self._began,
            actors=prepared.placement.actors.maximum,
            busy_s=self.counts.busy_s,
            commits=self.counts.commits,
            lost_devices=[
                {**asdict(device.place), "losses": device.losses, "given_up": device.given_up, "message": str(device)}
                for device in self._lost_devices
            ],
        )
        return self.reader.figures(index, facts)

    def _write_json(self, name: str, value: dict[str, Any]) -> None:
        text = json.dumps(value, indent=2, default=str) + "\n"
        storage.write_bytes(storage.join(self._prepared.run_folder, name), text.encode())
