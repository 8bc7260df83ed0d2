#!/usr/bin/env python3
"""Draw three short clips, track them with the main job on this machine, and show what came out.

make demo
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from rich.console import Console
from typer import Option

if __name__ == "__main__":  # as a script, the checkout it lies in comes before any installed copy
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from model.command_line import command_line, main
from pipeline.errors import UsageError
from pipeline.job import FINISHED

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What `jobs/demo.py` was asked to do."""

    folder: Annotated[
        Path, Option(help="Where all files go; an earlier demo there is removed.", metavar="DIR")
    ] = ROOT / "out" / "demo"
    weights: Annotated[str | None, Option(help="Other weights than the bundled model.", metavar="URI")] = None


def demo(options: DemoOptions) -> int:
    """Make a small corpus, run the main job on it, and print where the results are and what they say."""
    started, folder = time.monotonic(), options.folder
    _clear(folder)
    from pipeline.demo.corpus import write_corpus
    from pipeline.demo.tour import mean_overlap, queries, show
    from pipeline.render.video import render_clip

    terminal = Console(soft_wrap=True) if sys.stdout.isatty() else Console(width=140, soft_wrap=True)
    corpus = write_corpus(folder / "corpus")
    terminal.print(f"drew {len(corpus.videos)} clips, {corpus.frames} frames: {corpus.manifest}")

    output = folder / "run"
    command = [sys.executable, str(ROOT / "jobs" / "segment.py")]
    command += ["--manifest", str(corpus.manifest), "--output", str(output), "--strict"]
    command += ["--weights", options.weights] if options.weights else []
    terminal.print("$ " + " ".join(["python", "jobs/segment.py", *command[2:]]), markup=False)
    # A Ray of the demo's own, whatever runs on this machine; on loopback it needs no token.
    environment = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", **os.environ, "RAY_ADDRESS": "local"}
    status = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL).returncode
    if status:
        return status

    overlays = [folder / "overlay" / f"{video.stem}.mp4" for video in corpus.videos]
    for video, overlay in zip(corpus.videos, overlays, strict=True):
        render_clip(str(output), video.stem, str(video), overlay)
    for query in queries(output):
        show(query, terminal)
    terminal.print(f"\nmean overlap of the masks with the drawn truth: {mean_overlap(output, corpus.truth):.3f}\n")
    terminal.print(f"tables    {output}/masks/*.parquet\n          {output}/clips/*.parquet", highlight=False)
    terminal.print("overlay   " + "\n          ".join(map(str, overlays)), highlight=False)
    for report in sorted((output / "_runs").glob("*/report.html")):
        terminal.print(f"report    {report.parent}", highlight=False)
    terminal.print(f"done in {time.monotonic() - started:.0f} s", highlight=False)
    return FINISHED


def _clear(folder: Path) -> None:
    """Removes an earlier demo; leaves any other folder alone."""
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "corpus" / "manifest.jsonl").is_file():
        raise SystemExit(f"{folder} holds something other than an earlier demo; name an empty folder")
    for name in ("corpus", "run", "overlay"):
        shutil.rmtree(folder / name, ignore_errors=True)


app = command_line(demo, UsageError)

if __name__ == "__main__":
    main(app)
