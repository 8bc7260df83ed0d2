"""Make the report of an output again: `python -m pipeline.report OUTPUT`."""

from __future__ import annotations

import json
import logging
import sys
from typing import Annotated, Any

import typer

from pipeline import storage
from pipeline.cluster.connect import choose_authentication, connect
from pipeline.errors import UsageError
from pipeline.output.names import RUNS_FOLDER
from pipeline.report import RunFacts, collect, write_report

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def report(
    output: Annotated[str, typer.Argument(help="Folder with the tables.", metavar="OUTPUT")],
    run_id: Annotated[str | None, typer.Option("--run", help="The run to report on [the last].", metavar="ID")] = None,
    clips: Annotated[int, typer.Option("--report-clips", help="Most clips shown in the gallery.", min=0)] = 24,
    videos: Annotated[
        str | None,
        typer.Option(help="Folder from which relative video URIs are seen [the manifest's].", metavar="URI"),
    ] = None,
) -> None:
    """Make report.html and report.json of OUTPUT again, from its tables as they are now."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    choose_authentication()
    try:
        print(remake(storage.parse(output).uri, run_id, clips, videos))
    except (storage.StorageError, UsageError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def remake(output: str, run_id: str | None, clips: int, videos: str | None) -> str:
    """Make the report of a run again; returns the page's URI.

    Args:
        output: URI of the output folder.
        run_id: the run; None is the last that started.
        clips: most clips in the gallery.
        videos: folder from which relative video URIs are seen; None is the manifest's.

    Raises:
        UsageError: the output has no such run.
        StorageError: the tables cannot be read, or the report cannot be written.
    """
    run_id = run_id or _last_run(output)
    before, config = _kept(output, run_id, "report.json"), _kept(output, run_id, "config.json")
    if not config:
        raise UsageError(f"{storage.redact(output)} has no run {run_id}: no config.json below _runs/{run_id}")
    if videos is not None:
        config["video_folders"] = [storage.parse(videos).uri]
    known = before.get("run")
    figures = collect(output, RunFacts(run_id, stride=config["options"]["stride"]), clips)
    if known:  # a run's own figures stay as they were; other runs may have done its clips again since
        figures.run, figures.slowest = known, before["slowest"]
        figures.clips["this_run"] = before["clips"]["this_run"]
    run = {
        "run_id": run_id,
        "exit_status": before.get("exit_status"),
        "replaced": before.get("replaced", 0),
        "output": storage.redact(output),
        "started_at": config["started_at"],
        "finished_at": before.get("finished_at"),
    }
    if clips:
        connect()
    return write_report(output, figures, run=run, config=config, gallery=clips > 0)


def _last_run(output: str) -> str:
    suffix = "/config.json"
    reports = [entry.uri for entry in storage.list_files(output, "_runs/") if entry.uri.endswith(suffix)]
    if not reports:
        raise UsageError(f"{storage.redact(output)} has no run: there is no config.json below _runs/")
    return max(storage.name(storage.parent(uri)) for uri in reports)


def _kept(output: str, run_id: str, name: str) -> dict[str, Any]:
    try:
        return json.loads(storage.read_bytes(storage.join(output, RUNS_FOLDER, run_id, name)))
    except storage.NotFound:
        return {}


if __name__ == "__main__":
    app()
