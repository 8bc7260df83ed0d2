#!/usr/bin/env python3
"""Build a manifest from videos and the boxes that people drew in them.

python jobs/manifest.py videos/ --boxes annotations.xml --output manifest.jsonl --preview out/preview
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, get_args

import typer

if __name__ == "__main__":  # as a script, the checkout it lies in comes before any installed copy
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.manifest_builder import build_manifest
from pipeline.manifest_builder.build import Format, KeyFrames
from pipeline.options import UsageError
from pipeline.storage import StorageError, redact

SHOWN = 20

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def manifest(
    videos: Annotated[
        str, typer.Argument(help="A video, or a folder or bucket with videos.", metavar="VIDEOS", show_default=False)
    ],
    boxes: Annotated[
        str, typer.Option(help="Labels: a file, a ZIP as the tool exports it, or a folder of them.", metavar="URI")
    ],
    output: Annotated[str, typer.Option(help="The manifest; .jsonl or .parquet.", metavar="URI")],
    label_format: Annotated[
        str, typer.Option("--format", help="auto, cvat, label-studio, coco-video or mot.")
    ] = "auto",
    keyframes: Annotated[
        str, typer.Option(help="first: an object starts on its first box; all: it starts anew on every drawn box.")
    ] = "first",
    preview: Annotated[
        Path | None, typer.Option(help="Draw the init boxes on the init frames into this folder.", metavar="DIR")
    ] = None,
    preview_clips: Annotated[int, typer.Option(help="Clips to draw at most.")] = 50,
) -> None:
    """Write the manifest of those VIDEOS that have labels in BOXES; names those that have none."""
    try:
        _choice("format", label_format, get_args(Format))
        _choice("keyframes", keyframes, get_args(KeyFrames))
        built = build_manifest(
            videos,
            boxes,
            output,
            label_format=label_format,  # type: ignore[arg-type]
            keyframes=keyframes,  # type: ignore[arg-type]
        )
    except (UsageError, StorageError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    _warn("", built.notes)
    _warn("no labels for the video ", [redact(uri) for uri in built.videos_without])
    _warn("no video for the labels of ", built.labels_without)
    summary = built.manifest.summary
    print(f"{summary.clips} clips, {summary.objects} objects in {redact(output)}")
    if preview is not None:
        _draw(built.manifest, preview, preview_clips)


def _draw(built: object, folder: Path, most: int) -> None:
    from pipeline.manifest_builder.preview import draw_previews

    drawn = 0
    for path, problem in draw_previews(built, folder, most=most):  # type: ignore[arg-type]
        drawn += path is not None
        if problem:
            print(f"warning: {problem}", file=sys.stderr)
    print(f"{drawn} pictures of init frames in {folder}")


def _choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UsageError(f"--{name} {value}: expected one of {', '.join(allowed)}")


def _warn(prefix: str, lines: tuple[str, ...] | list[str]) -> None:
    for line in lines[:SHOWN]:
        print(f"warning: {prefix}{line}", file=sys.stderr)
    if len(lines) > SHOWN:
        print(f"warning: … and {len(lines) - SHOWN} more of this kind", file=sys.stderr)


if __name__ == "__main__":
    app()
