"""What those who read a run may choose: which clips, and how pictures of them look. Imports nothing that takes time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from typer import Option

from model.command_line import comma_separated
from pipeline.errors import UsageError

Layout = Literal["overlay", "side-by-side", "masks"]
Between = Literal["hold", "blank"]


@dataclass(frozen=True, slots=True)
class ClipSelection:
    """Which clips; what is given holds together.

    Attributes:
        clips: these ids, failed clips among them; without it, all clips that did not fail.
        match: ids that match this pattern with `*`, `?` and `[...]`.
        where: a condition on the columns of `clips`, in DuckDB's SQL.
        limit: the first N of these, by id.
    """

    clips: Annotated[
        tuple[str, ...],
        Option(help="Only these clips [all that did not fail].", metavar="A,B,...", parser=comma_separated),
    ] = ()
    match: Annotated[str | None, Option(help="Only ids like this: 'harbour-*'.", metavar="GLOB")] = None
    where: Annotated[
        str | None, Option(help="Only clips for which this holds, on the columns of clips.", metavar="SQL")
    ] = None
    limit: Annotated[int | None, Option(help="Only the first N of these, by id.")] = None

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"--limit {self.limit}: expected 1 or more")
