"""What is wrong with a manifest, and where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.errors import UsageError
from pipeline.storage.redact import redact, redact_text

MAX_PROBLEMS = 20
"""As many problems are listed at once."""

_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault of a manifest.

    Args:
        column: The column at fault, with the place inside it (`objects[1].box.w`); empty for a whole row.
        expected: What was expected, as a noun phrase.
        got: What was found, as `show` writes it.
        row: Row in the file, counted from 1, or None where the fault is the whole file's. A text file's row is
            its line (in a CSV the header is line 1); a Parquet file's is the row's index plus one.
        file: The file, as its URI.
    """

    column: str
    expected: str
    got: str
    row: int | None = None
    file: str = ""

    def __str__(self) -> str:
        file = redact(self.file)
        place = file if self.row is None else f"{file}:{_row(self.file, self.row)}"
        where = f"{place} {self.column}" if self.column else place
        return f"{where}: expected {self.expected}, got {self.got}"


class ManifestError(UsageError):
    """The manifest cannot be used; lists up to `MAX_PROBLEMS` problems, each with file, row and column.

    Args:
        problems: In the order of the manifest, at least one.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems[:MAX_PROBLEMS])
        lines = [str(problem) for problem in self.problems]
        if len(problems) >= MAX_PROBLEMS:
            lines.append(f"these are the first {MAX_PROBLEMS} problems; there may be more")
        super().__init__("\n".join(lines))

    def __reduce__(self) -> tuple[type[ManifestError], tuple[tuple[Problem, ...]]]:
        return type(self), (self.problems,)


def show(value: object) -> str:
    """A value as an error message quotes it: short, on one line, without secrets, nothing where it is None."""
    if value is None:
        return "nothing"
    text = redact_text(repr(value))
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def _row(file: str, row: int) -> str:
    return f"row {row} (index {row - 1})" if file.partition("?")[0].lower().endswith(".parquet") else str(row)
