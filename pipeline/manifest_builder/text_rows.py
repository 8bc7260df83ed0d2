"""Labels in text: one record a line, its values parted by commas or white space."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.manifest_builder.label_files import LabelFile


@dataclass(frozen=True, slots=True)
class Row:
    """A line that is not blank.

    Attributes:
        where: file and line, for messages.
        text: the line.
        values: its values as text.
    """

    where: str
    text: str
    values: list[str]

    @property
    def numbers(self) -> list[float] | None:
        """The values as numbers, NaN among them; None where one is no number."""
        try:
            return [float(value) for value in self.values]
        except ValueError:
            return None


def rows_of(file: LabelFile, most: int | None = None) -> list[Row]:
    """The lines of a file that are not blank, or the first of them."""
    rows = []
    for line, text in enumerate(file.lines, start=1):
        text = text.strip()
        if text:
            values = text.split(",") if "," in text else text.split()
            rows.append(Row(f"{file.shown}:{line}", text, [value.strip() for value in values]))
            if len(rows) == most:
                break
    return rows
