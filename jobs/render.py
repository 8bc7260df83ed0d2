#!/usr/bin/env python3
"""Draw chosen clips of a run as videos: masks, rotated boxes, ids and scores on the source frames.

    ray job submit --working-dir . -- python jobs/render.py --run s3://bucket/run1 --output s3://bucket/run1-videos \
        --where "status = 'partial'" --limit 20
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
def render(
    run: Annotated[str, typer.Option(help="The --output of jobs/segment.py.", metavar="URI")],
    output: Annotated[str, typer.Option(help="Folder for the videos, <clip_id>.mp4.", metavar="URI")],
    clips: Annotated[str, typer.Option(help="Only these clips [all that did not fail].", metavar="A,B,...")] = "",
    match: Annotated[str | None, typer.Option(help="Only ids like this: 'harbour-*'.", metavar="GLOB")] = None,
    where: Annotated[
        str | None, typer.Option(help="Only clips for which this holds, on the columns of clips.", metavar="SQL")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first N of these, by id.")] = None,
    layout: Annotated[str, typer.Option(help="overlay, side-by-side or masks.")] = "overlay",
    between: Annotated[
        str, typer.Option(help="In frames that a stride leaves out: hold (outline the last masks) or blank.")
    ] = "hold",
    opacity: Annotated[float, typer.Option(help="Of the colour inside a mask, 0 to 1.")] = 0.45,
    contour: Annotated[bool, typer.Option(help="Draw the outlines of masks.")] = True,
    box: Annotated[bool, typer.Option(help="Draw rotated boxes.")] = True,
    label: Annotated[bool, typer.Option(help="Write ids and scores.")] = True,
    videos: Annotated[
        str | None, typer.Option(help="Folder of relative video_uris [the manifest's own].", metavar="URI")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 3 when any clip could not be drawn.")] = False,
) -> None:
    """Draw chosen clips of RUN into OUTPUT/<clip_id>.mp4."""
    from pipeline.raycluster import choose_authentication

    choose_authentication()
    from model.overlay import OverlayStyle
    from pipeline.reading.choose import Choice, by_ids
    from pipeline.render.job import RenderOptions, render_run

    try:
        options = RenderOptions(
            run=run,
            output=output,
            choice=Choice(by_ids(clips), match, where, limit),
            layout=layout,  # type: ignore[arg-type]
            between=between,  # type: ignore[arg-type]
            style=OverlayStyle(opacity, contour, box, label),
            videos=videos,
            strict=strict,
        )
        status = render_run(options)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    raise SystemExit(status)


if __name__ == "__main__":
    app()
