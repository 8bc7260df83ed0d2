#!/usr/bin/env python3
"""Build a manifest from videos and the boxes that people drew in them.

python jobs/manifest.py videos/ --boxes annotations.xml --output manifest.jsonl --preview out/preview
"""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, get_args

from typer import Argument, Option

if __name__ == "__main__":  # as a script, the checkout it lies in comes before any installed copy
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from model.command_line import command_line, main
from pipeline.errors import UsageError
from pipeline.job import FINISHED, run_job
from pipeline.manifest_builder import build_manifest
from pipeline.manifest_builder.label_formats import FormatName
from pipeline.manifest_builder.starts import Ends, KeyFrames
from pipeline.storage import StorageError, redact

SHOWN = 20


@dataclass(frozen=True, slots=True)
class ManifestOptions:
    """What `jobs/manifest.py` was asked to do.

    Raises:
        UsageError: a value is none of those allowed; the message names the option.
    """

    videos: Annotated[
        str, Argument(help="A video, or a folder or bucket with videos.", metavar="VIDEOS", show_default=False)
    ]
    output: Annotated[str, Option(help="The manifest; .jsonl or .parquet.", metavar="URI")]
    boxes: Annotated[
        str | None, Option(help="Labels: a file, a ZIP as the tool exports it, or a folder of them.", metavar="URI")
    ] = None
    corrections: Annotated[
        str | None,
        Option(help="Corrected labels of a run: VIDEOS is its manifest, --run its output.", metavar="URI"),
    ] = None
    run: Annotated[str | None, Option(help="With --corrections: the --output of jobs/segment.py.", metavar="URI")] = (
        None
    )
    label_format: Annotated[
        FormatName, Option("--format", help=f"auto goes by the content; or {', '.join(get_args(FormatName)[1:])}.")
    ] = "auto"
    keyframes: Annotated[
        KeyFrames, Option(help="first: an object starts on its first box; all: it starts anew on every drawn box.")
    ] = "first"
    ends: Annotated[
        Ends, Option(help="labelled: an object ends where the labels say so; ignore: it is tracked to the end.")
    ] = "labelled"
    preview: Annotated[
        Path | None, Option(help="Draw the init boxes on the init frames into this folder.", metavar="DIR")
    ] = None
    preview_clips: Annotated[int, Option(help="Clips to draw at most.")] = 50

    def __post_init__(self) -> None:
        if (self.boxes is None) == (self.corrections is None):
            raise UsageError("expected --boxes, or --corrections with --run")
        if (self.corrections is None) != (self.run is None):
            raise UsageError("--corrections needs --run, the output of the run that was corrected, and --run needs it")
        choices_of = {"format": FormatName, "keyframes": KeyFrames, "ends": Ends}
        values = {"format": self.label_format, "keyframes": self.keyframes, "ends": self.ends}
        for name, choices in choices_of.items():
            value = values[name]
            if value not in get_args(choices):
                raise UsageError(f"--{name} {value}: expected one of {', '.join(get_args(choices))}")


def manifest(options: ManifestOptions) -> int:
    """Write the manifest of those VIDEOS that have labels in BOXES; names those that have none."""
    return run_job(lambda: _build(options), interrupted="interrupted by {signal}", log_level=logging.WARNING)


def _correct(options: ManifestOptions) -> int:
    from pipeline.manifest_builder.corrections import correct_manifest  # what reads tables loads only where it is used

    assert options.corrections is not None and options.run is not None
    try:
        done = correct_manifest(options.videos, options.corrections, options.run, options.output)
    except StorageError as error:
        raise UsageError(str(error)) from error
    _warn("", done.notes)
    print(
        f"{len(done.clips)} clips changed by {done.boxes} boxes and {done.ends} ends in {redact(options.output)}: "
        "jobs/segment.py --replace-changed runs them again"
    )
    return FINISHED


def _build(options: ManifestOptions) -> int:
    if options.corrections is not None:
        return _correct(options)
    assert options.boxes is not None
    try:
        built = build_manifest(
            options.videos,
            options.boxes,
            options.output,
            label_format=options.label_format,
            keyframes=options.keyframes,
            ends=options.ends,
        )
    except StorageError as error:
        raise UsageError(str(error)) from error
    _warn("", built.notes)
    _warn("no labels for the video ", [redact(uri) for uri in built.videos_without])
    _warn("no video for the labels of ", built.labels_without)
    summary = built.manifest.summary
    print(f"{summary.clips} clips, {summary.objects} objects in {redact(options.output)}")
    if options.preview is not None:
        _draw(built.manifest, options.preview, options.preview_clips)
    return FINISHED


def _draw(built: object, folder: Path, most: int) -> None:
    from pipeline.manifest_builder.preview import draw_previews

    drawn = 0
    for path, problem in draw_previews(built, folder, most=most):  # type: ignore[arg-type]
        drawn += path is not None
        if problem:
            print(f"warning: {problem}", file=sys.stderr)
    print(f"{drawn} pictures of init frames in {folder}")


def _warn(prefix: str, lines: tuple[str, ...] | list[str]) -> None:
    for line in lines[:SHOWN]:
        print(f"warning: {prefix}{line}", file=sys.stderr)
    if len(lines) > SHOWN:
        print(f"warning: … and {len(lines) - SHOWN} more of this kind", file=sys.stderr)


app = command_line(manifest, UsageError)

if __name__ == "__main__":
    main(app)
