"""Choose clips of a run: by id, by pattern, by a condition in SQL."""

from __future__ import annotations

from pipeline import storage
from pipeline.errors import UsageError
from pipeline.reading.errors import NoSuchRun
from pipeline.reading.opened_run import Run, open_run
from pipeline.reading.options import ClipSelection


def open_selection(uri: str, selection: ClipSelection, *, videos: str | None = None) -> tuple[Run, list[str]]:
    """Open the run of a job's `--run` and choose clips of it, see `open_run` and `select_clips`.

    Raises:
        UsageError: there is no such run, it cannot be read, or no clip of it can be chosen so.
    """
    try:
        run = open_run(uri, videos=videos)
        return run, select_clips(run, selection)
    except (NoSuchRun, storage.StorageError) as error:
        raise UsageError(f"--run: {error}") from error


def select_clips(run: Run, selection: ClipSelection) -> list[str]:
    """The ids of the chosen clips, sorted.

    Raises:
        UsageError: an id that the run has not, a condition that is no SQL, or no clip is left.
        StorageError: the table cannot be read.
    """
    import duckdb

    rows = run.clips(clip_id=selection.clips or None)
    if selection.clips:
        known = set(rows.arrow()["clip_id"].to_pylist())
        if absent := [clip_id for clip_id in selection.clips if clip_id not in known]:
            raise UsageError(f"--clips {absent[0]}: {storage.redact(run.uri)} has no clip of this id")
    with duckdb.connect() as connection:
        chosen = rows.duckdb(connection)
        if not selection.clips:
            chosen = chosen.filter("status <> 'failed'")
        if selection.match is not None:
            quoted = selection.match.replace("'", "''")
            chosen = chosen.filter(f"clip_id GLOB '{quoted}'")
        try:
            chosen = chosen if selection.where is None else chosen.filter(selection.where)
            ordered = chosen.select("clip_id").order("clip_id")
            selected = (ordered if selection.limit is None else ordered.limit(selection.limit)).fetchall()
        except duckdb.Error as error:
            if selection.where is None:
                raise
            raise UsageError(f"--where {selection.where}: {str(error).splitlines()[0]}") from None
    if not selected:
        raise UsageError(
            f"none of the {run.committed.index.num_rows} clips in {storage.redact(run.uri)} is chosen"
            + ("" if selection.clips else "; those that failed are left out unless --clips names them")
        )
    return [clip_id for (clip_id,) in selected]
