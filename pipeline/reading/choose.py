"""Choose clips of a run: by id, by pattern, by a condition in SQL."""

from __future__ import annotations

import fnmatch
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
    index = run.clips(columns=["clip_id", "status"]).arrow().to_pydict()
    status = dict(zip(index["clip_id"], index["status"], strict=True))
    if absent := [clip_id for clip_id in choice.clips if clip_id not in status]:
        raise UsageError(f"--clips {absent[0]}: {storage.redact(run.uri)} has no clip of this id")
    chosen = set(choice.clips) or {clip_id for clip_id, ended in status.items() if ended != "failed"}
    if choice.match is not None:
        chosen = {clip_id for clip_id in chosen if fnmatch.fnmatchcase(clip_id, choice.match)}
    if choice.where is not None:
        chosen &= _fulfil(run, choice.where)
    if not chosen:
        raise UsageError(
            f"none of the {len(status)} clips in {storage.redact(run.uri)} is chosen"
            + (": those that failed are left out" if set(status.values()) == {"failed"} else "")
        )
    return sorted(chosen)[: choice.limit]


def by_ids(text: str) -> tuple[str, ...]:
    """Ids from `a,b,c`."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _fulfil(run: Run, condition: str) -> set[str]:
    import duckdb

    with duckdb.connect() as connection:
        try:
            found = run.clips().duckdb(connection).filter(condition).select("clip_id").fetchall()
        except duckdb.Error as error:
            raise UsageError(f"--where {condition}: {str(error).splitlines()[0]}") from None
    return {clip_id for (clip_id,) in found}
