"""What a reader of one piece hands on: checked rows, and what it saw beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from pipeline.clip import Clip
from pipeline.manifest.check import CLIP_COLUMNS
from pipeline.manifest.kept_columns import Seen
from pipeline.manifest.objects import OBJECT_COLUMNS
from pipeline.manifest.problems import Problem

_MOST_NAMES = 1000


class Checked(NamedTuple):
    """One manifest row: a clip, or what is wrong with it; `row` counts from 1 within the piece (see `Log`)."""

    row: int
    clip: Clip | None
    problems: list[Problem]


@dataclass(slots=True)
class Log:
    """What a piece holds beside its clips; filled while the piece is read.

    Attributes:
        columns: Names of columns seen, those of objects as `objects.name` (the first 1,000).
        seen: Types of the kept columns.
        rows: Lines read so far, for pieces that do not know where in the file they begin: their rows count from
            the piece's own start. 0 for all others, whose rows are the file's.
    """

    columns: set[str] = field(default_factory=set)
    seen: dict[str, list[Seen]] = field(default_factory=dict)
    rows: int = 0

    def note(self, row: Mapping[str, Any]) -> None:
        """Note the columns of one row and its objects."""
        if not row.keys() <= self.columns:
            self._add(row.keys())
        objects = row.get("objects")
        if type(objects) is list:
            for item in objects:
                if type(item) is dict and not item.keys() <= OBJECT_COLUMNS:
                    self._add(f"objects.{name}" for name in item)

    def _add(self, names: Iterable[str]) -> None:
        if len(self.columns) < _MOST_NAMES:
            self.columns.update(names)


def unknown(columns: Iterable[str], keep: Iterable[str]) -> list[str]:
    """Those of the columns that the service does not know and was not asked to keep, sorted."""
    known = {*CLIP_COLUMNS, *keep, *(f"objects.{name}" for name in OBJECT_COLUMNS)}
    return sorted(set(columns) - known)


def placed(problems: Iterable[Problem], row: int | None) -> list[Problem]:
    """The problems, each with the row where it has none."""
    return [replace(problem, row=row) if problem.row is None else problem for problem in problems]
