#!/usr/bin/env python3
"""Track and segment the objects of a manifest's clips into two Parquet tables.

    ray job submit --working-dir . -- python jobs/segment.py --manifest s3://bucket/manifest.parquet \
        --output s3://bucket/run1
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

if __name__ == "__main__":  # as a script, the checkout it lies in comes before any installed copy
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.decode.events import DecodeLimits
from pipeline.options import ActorCount, SegmentOptions, UsageError, parse_labels

DEFAULTS = DecodeLimits()
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def segment(
    output: Annotated[str, typer.Option(help="Folder for the tables; the same again resumes.", metavar="URI")],
    manifest: Annotated[
        str, typer.Option(help="JSON Lines, Parquet or CSV; a file, folder or glob.", metavar="URI", show_default=False)
    ] = "",
    video: Annotated[
        str | None, typer.Option(help="One video in place of a manifest, with its --box.", metavar="URI")
    ] = None,
    box: Annotated[
        list[str] | None,
        typer.Option(
            help="An object of --video, in pixels; ID= names it, @FRAME starts it there. Give one a object.",
            metavar="[ID=]X,Y,W,H[@FRAME]",
        ),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Our safetensors or a public SiamMask .pth [the bundled model].", metavar="URI")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16.")] = "auto",
    actors: Annotated[
        str | None, typer.Option(help="Tracker actors, N or MIN:MAX [one per GPU, or per CPU pair].")
    ] = None,
    gpus_per_actor: Annotated[float, typer.Option(help="GPUs of an actor; 0.25 packs four on one.")] = 1.0,
    actor_nodes: Annotated[
        str, typer.Option(help="Ray labels of the nodes that actors are held to.", metavar="KEY=VALUE,...")
    ] = "",
    max_tracks: Annotated[int | None, typer.Option(help="Tracks that one actor steps together [by device].")] = None,
    compile: Annotated[
        bool, typer.Option("--compile", help="Compile the network's step, a minute for each size of batch.")
    ] = False,
    clips_per_file: Annotated[int, typer.Option(help="Most clips that share one output file.")] = 32,
    commit_every: Annotated[float, typer.Option(help="Seconds after which finished clips are committed.")] = 300.0,
    stride: Annotated[int, typer.Option(help="Track every n-th frame.")] = 1,
    rotated_box: Annotated[str, typer.Option(help="minmax, mbr, opt or ellipse.")] = "mbr",
    preset: Annotated[
        str | None, typer.Option(help="Tracker: vot, vot18, davis or a JSON file [the weights' own].")
    ] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Run failed and partial clips again.")] = False,
    wait_for_lease: Annotated[
        float, typer.Option(help="Seconds to wait for another run that holds the output.")
    ] = 120.0,
    decoder: Annotated[str, typer.Option(help="decord or pyav.")] = "decord",
    max_corrupt: Annotated[float, typer.Option(help="Fraction of undecodable frames above which a clip fails.")] = 0.1,
    max_frame_pixels: Annotated[
        int, typer.Option(help="Largest frame, width times height; a larger one fails its clip.")
    ] = DEFAULTS.max_frame_pixels,
    max_video_bytes: Annotated[
        int, typer.Option(help="Largest video file; a larger one fails its clips.")
    ] = DEFAULTS.max_file_bytes,
    max_clip_seconds: Annotated[
        float, typer.Option(help="Longest time for one clip, from fetching its video to its last mask.")
    ] = DEFAULTS.max_clip_seconds,
    max_staged_bytes: Annotated[
        int | None, typer.Option(help="Most bytes of videos kept on a node at a time [no limit].")
    ] = None,
    keep_columns: Annotated[str, typer.Option(help="Manifest columns to copy into clips.", metavar="A,B,...")] = "",
    max_failed: Annotated[float, typer.Option(help="Stop when more than this fraction of the clips failed.")] = 0.5,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 3 when any clip is failed or partial.")] = False,
    limit: Annotated[int | None, typer.Option(help="Only the first N clips.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, print the plan, run nothing.")] = False,
    report: Annotated[bool, typer.Option(help="Write report.html and report.json at the end.")] = True,
    report_clips: Annotated[int, typer.Option(help="Most clips shown in the report.")] = 24,
) -> None:
    """Track and segment the objects of MANIFEST's clips into OUTPUT/masks and OUTPUT/clips."""
    from pipeline.raycluster import choose_authentication

    choose_authentication()
    from pipeline.run import run  # Ray and the model load only once the command line is known to be right

    try:
        options = SegmentOptions(
            manifest=manifest,
            output=output,
            video=video,
            boxes=tuple(box or ()),
            weights=weights,
            device=device,  # type: ignore[arg-type]
            precision=precision,  # type: ignore[arg-type]
            actors=ActorCount.parse(actors) if actors else None,
            gpus_per_actor=gpus_per_actor,
            actor_nodes=parse_labels(actor_nodes),
            max_tracks=max_tracks,
            compile=compile,
            clips_per_file=clips_per_file,
            commit_every=commit_every,
            stride=stride,
            rotated_box=rotated_box,  # type: ignore[arg-type]
            preset=preset,
            retry_failed=retry_failed,
            wait_for_lease=wait_for_lease,
            decoder=decoder,  # type: ignore[arg-type]
            max_corrupt=max_corrupt,
            max_frame_pixels=max_frame_pixels,
            max_video_bytes=max_video_bytes,
            max_clip_seconds=max_clip_seconds,
            max_staged_bytes=max_staged_bytes,
            keep_columns=tuple(name.strip() for name in keep_columns.split(",") if name.strip()),
            max_failed=max_failed,
            strict=strict,
            limit=limit,
            dry_run=dry_run,
            report=report,
            report_clips=report_clips,
        )
        status = run(options)
        if video is not None and status in (0, 3) and not dry_run:
            from pipeline.one_video import what_next

            print(what_next(video, output), file=sys.stderr, flush=True)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    raise SystemExit(status)


if __name__ == "__main__":
    app()
