#!/usr/bin/env python3
"""Write a run's masks as YouTube-VIS or COCO JSON, DAVIS pictures, MOTS text or VOT trajectories.

    python jobs/export.py --run s3://bucket/run1 --output s3://bucket/run1-coco --format coco
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

if __name__ == "__main__":  # as a script, the checkout it lies in comes before any installed copy
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.options import UsageError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def export(
    run: Annotated[str, typer.Option(help="The --output of jobs/segment.py.", metavar="URI")],
    output: Annotated[str, typer.Option(help="Folder for the export, without files yet.", metavar="URI")],
    format: Annotated[str, typer.Option(help="coco, davis, mots, vot or youtube-vis.")],
    clips: Annotated[str, typer.Option(help="Only these clips [all that did not fail].", metavar="A,B,...")] = "",
    match: Annotated[str | None, typer.Option(help="Only ids like this: 'harbour-*'.", metavar="GLOB")] = None,
    where: Annotated[
        str | None, typer.Option(help="Only clips for which this holds, on the columns of clips.", metavar="SQL")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first N of these, by id.")] = None,
    category: Annotated[str, typer.Option(help="Name of the one category, for coco and youtube-vis.")] = "object",
    mots_class: Annotated[int, typer.Option(help="Class of all objects, for mots: 1 car, 2 pedestrian.")] = 2,
    region: Annotated[str, typer.Option(help="For vot: polygon (rotated box), rectangle or mask.")] = "polygon",
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 3 when a clip does not fit.")] = False,
) -> None:
    """Export chosen clips of RUN into OUTPUT."""
    from pipeline.export import ExportOptions, export_run
    from pipeline.reading.choose import Choice, by_ids

    try:
        options = ExportOptions(
            run=run,
            output=output,
            format=format,  # type: ignore[arg-type]
            choice=Choice(by_ids(clips), match, where, limit),
            category=category,
            mots_class=mots_class,
            region=region,  # type: ignore[arg-type]
            strict=strict,
        )
        status = export_run(options)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    raise SystemExit(status)


if __name__ == "__main__":
    app()
