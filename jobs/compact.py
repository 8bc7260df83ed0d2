#!/usr/bin/env python3
"""Merge the small parts of an output folder into fewer, larger ones; readers may go on meanwhile.

    python jobs/compact.py --output s3://bucket/run1
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

if __name__ == "__main__":  # as a script, the checkout it lies in comes before any installed copy
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.compact import CompactOptions
from pipeline.compact import compact as merge_small_parts
from pipeline.options import UsageError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def compact(
    output: Annotated[str, typer.Option(help="Folder of the tables.", metavar="URI")],
    target_bytes: Annotated[
        int, typer.Option(help="About the size of a merged part; parts of more than half of it stay.")
    ] = 256 << 20,
    wait_for_lease: Annotated[float, typer.Option(help="Seconds to wait for a run that holds the output.")] = 120.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be merged, change nothing.")] = False,
) -> None:
    """Merge small parts of OUTPUT/masks and OUTPUT/clips."""
    try:
        status = merge_small_parts(CompactOptions(output, target_bytes, wait_for_lease, dry_run))
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    raise SystemExit(status)


if __name__ == "__main__":
    app()
