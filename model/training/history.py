"""The record of a run: losses and validations as CSV files, a plot of both, and TensorBoard's event files."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter

from model.caches import place_matplotlib

LOSSES, VALIDATION, PLOT, EVENTS = "losses.csv", "validation.csv", "losses.png", "tensorboard"


class History:
    """Appends to the record in a folder. Rows after `step`, left by a run that was killed, are removed first."""

    def __init__(self, folder: Path, step: int) -> None:
        self.folder = folder
        for name in (LOSSES, VALIDATION):
            truncate(folder / name, step)
        # Steps from purge_step on are hidden from what earlier writers left.
        self._events = SummaryWriter(str(folder / EVENTS), purge_step=step + 1 if step else None, flush_secs=10)

    def losses(self, row: Mapping[str, float]) -> None:
        """Record the losses of a step; `row` has its number as `step`."""
        self._add(LOSSES, "train", row)

    def validation(self, row: Mapping[str, float]) -> None:
        """Record the scores of a validation; `row` has the step as `step`."""
        self._add(VALIDATION, "validation", row)

    def flush(self) -> None:
        """Bring the plot and the event files up to date."""
        self._events.flush()
        plot(self.folder)

    def close(self) -> None:
        """End the event file."""
        self._events.close()

    def _add(self, name: str, group: str, row: Mapping[str, float]) -> None:
        path = self.folder / name
        fresh = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            if fresh:
                writer.writeheader()
            writer.writerow(row)
        for column, value in row.items():
            if column != "step":
                self._events.add_scalar(f"{group}/{column}", value, int(row["step"]))


def truncate(path: Path, step: int) -> None:
    """Remove rows of a CSV file after `step`, a line cut short included."""
    if not path.exists():
        return
    rows = read_rows(path)
    columns = list(rows[0]) if rows else []
    kept = [row for row in rows if int(row["step"]) <= step]
    if not kept:
        path.unlink()
        return
    partial = path.with_suffix(".partial")
    with partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(kept)
    partial.replace(path)


def read_rows(path: Path) -> list[dict[str, str]]:
    """The whole rows of a CSV file as text by column; none where there is no file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [row for row in csv.DictReader(file) if None not in row.values() and None not in row]


def plot(folder: Path) -> None:
    """Draw the losses, and J of the validations, over the steps into a PNG file."""
    losses, scores = read_rows(folder / LOSSES), read_rows(folder / VALIDATION)
    if not losses:
        return
    place_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.add_subplot()
    steps = [int(row["step"]) for row in losses]
    for column in ("total", "score", "box", "mask", "fine"):
        values = [float(row[column]) for row in losses]
        if any(values):
            axes.plot(steps, values, label=column, linewidth=1)
    axes.set(xlabel="step", ylabel="loss", yscale="log")
    if scores:
        other: Any = axes.twinx()
        other.plot([int(row["step"]) for row in scores], [float(row["j"]) for row in scores], "k.-", label="J")
        other.set(ylabel="J of held-out sequences", ylim=(0, 1))
    axes.legend(loc="upper right")
    figure.savefig(folder / PLOT, dpi=110)
