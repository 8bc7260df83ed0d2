"""Choose clips of a run: by id, by pattern, by a condition in SQL."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline import storage
from pipeline.options import UsageError
from pipeline.reading.run import Run


@dataclass(frozen=True, slots=True)
class Choice:
    """Which clips; what is given holds together.

    Attributes:
        clips: these ids, failed clips among them; without it, all clips that did not fail.
        match: ids that match this pattern with `*`, `?` and `[...]`.
        where: a condition on the columns of `clips`, in DuckDB's SQL.
        limit: the first N of these, by id.
    """

    clips: tuple[str, ...] = ()
    match: str | None = None
    where: str | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"--limit {self.limit}: expected 1 or more")


def choose(run: Run, choice: Choice) -> list[str]:
    """The ids of the chosen clips, sorted.

    Raises:
        UsageError: an id that the run has not, a condition that is no SQL, or no clip is left.
        StorageError: the table cannot be read.
    """
    import duckdb

    rows = run.clips(clip_id=choice.clips or None)
    if choice.clips:
        there = set(rows.arrow()["clip_id"].to_pylist())
        if absent := [clip_id for clip_id in choice.clips if clip_id not in there]:
            raise UsageError(f"--clips {absent[0]}: {storage.redact(run.uri)} has no clip of this id")
    with duckdb.connect() as connection:
        chosen = rows.duckdb(connection)
        if not choice.clips:
            chosen = chosen.filter("status <> 'failed'")
        if choice.match is not None:
            quoted = choice.match.replace("'", "''")
            chosen = chosen.filter(f"clip_id GLOB '{quoted}'")
        try:
            chosen = chosen if choice.where is None else chosen.filter(choice.where)
            ordered = chosen.select("clip_id").order("clip_id")
            found = (ordered if choice.limit is None else ordered.limit(choice.limit)).fetchall()
        except duckdb.Error as error:
            if choice.where is None:
                raise
            raise UsageError(f"--where {choice.where}: {str(error).splitlines()[0]}") from None
    if not found:
        raise UsageError(
            f"none of the {run.committed.index.num_rows} clips in {storage.redact(run.uri)} is chosen"
            + ("" if choice.clips else "; those that failed are left out unless --clips names them")
        )
    return [clip_id for (clip_id,) in found]


def by_ids(text: str) -> tuple[str, ...]:
    """Ids from `a,b,c`."""
    return tuple(name.strip() for name in text.split(",") if name.strip())
