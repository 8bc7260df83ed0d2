"""A run's masks in another tool's format: what `jobs/export.py` does."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from pipeline import storage
from pipeline.export.clips import ExportClip, each_clip
from pipeline.export.coco_json import CocoJson
from pipeline.export.davis import Davis
from pipeline.export.errors import ExportError
from pipeline.export.mots import Mots
from pipeline.export.sink import Sink
from pipeline.export.vot import Region, Vot
from pipeline.export.youtube_vis import YouTubeVis
from pipeline.interrupt import interruptible, signal_name
from pipeline.options import UsageError
from pipeline.reading import NoSuchRun, open_run
from pipeline.reading.choose import Choice, choose

Format = Literal["coco", "davis", "mots", "vot", "youtube-vis"]

FINISHED, FAILED, STRICT_FAILED, INTERRUPTED = 0, 1, 3, 130
LOG_EVERY_S = 5.0


class Exporter(Protocol):
    """Takes one clip after another, and is closed after the last."""

    def add(self, clip: ExportClip) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What `jobs/export.py` was asked to do.

    Attributes:
        run: the output of the run.
        output: the folder for the export, empty or not there yet.
        format: which format.
        choice: which clips.
        category: name of the one category, for `coco` and `youtube-vis`.
        mots_class: class of all objects, for `mots`.
        region: what stands for an object in a frame, for `vot`.
        strict: exit with 3 where a clip does not fit the format.

    Raises:
        UsageError: a value is out of its range; the message names the option.
    """

    run: str
    output: str
    format: Format
    choice: Choice = Choice()
    category: str = "object"
    mots_class: int = 2
    region: Region = "polygon"
    strict: bool = False

    def __post_init__(self) -> None:
        for name, value, allowed in (("format", self.format, Format), ("region", self.region, Region)):
            if value not in get_args(allowed):
                raise UsageError(f"--{name} {value}: expected one of {', '.join(get_args(allowed))}")
        if self.mots_class not in (1, 2):
            raise UsageError(f"--mots-class {self.mots_class}: expected 1 (car) or 2 (pedestrian)")


def export_run(options: ExportOptions) -> int:
    """Exports the chosen clips; returns the exit status (0, 1, 3 or 130). Memory is that of one clip.

    Raises:
        UsageError: exit status 2: something is unusable, found before any work started.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("botocore").setLevel(logging.WARNING)
    with interruptible():
        try:
            return _export(options)
        except KeyboardInterrupt:
            print(f"interrupted by {signal_name()}: what was exported is not whole", file=sys.stderr, flush=True)
            return INTERRUPTED


def _export(options: ExportOptions) -> int:
    try:
        run = open_run(options.run)
        chosen = choose(run, options.choice)
    except (NoSuchRun, storage.StorageError) as error:
        raise UsageError(f"--run: {error}") from error
    output = _empty_folder(options.output)
    exported = frames = failed = 0
    last_line = time.monotonic()
    try:
        with Sink(output) as sink:
            exporter = _FORMATS[options.format](sink, options)
            for clip in each_clip(run, chosen):
                try:
                    exporter.add(clip)
                    exported, frames = exported + 1, frames + len(clip.frames)
                except ExportError as error:
                    failed += 1
                    print(f"failed: {error}", file=sys.stderr, flush=True)
                if time.monotonic() - last_line >= LOG_EVERY_S:
                    last_line = time.monotonic()
                    print(f"{exported + failed}/{len(chosen)} clips", file=sys.stderr, flush=True)
            exporter.close()
    except storage.StorageError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return FAILED
    without = len(chosen) - exported - failed
    print(
        f"{len(chosen)} clips: {exported} exported, {failed} failed, {without} without masks; "
        f"{frames} frames in {storage.redact(output)}",
        flush=True,
    )
    if not exported:
        return FAILED
    return STRICT_FAILED if failed and options.strict else FINISHED


def _empty_folder(uri: str) -> str:
    try:
        output = storage.parse(uri).uri
        there = next(storage.list_files(output), None)
        storage.check_writable(output)
    except storage.StorageError as error:
        raise UsageError(f"--output: {error}") from error
    if there is not None:
        raise UsageError(
            f"--output {storage.redact(output)}: it holds files already ({storage.name(there.uri)}), "
            "which an export would be mixed with: name another folder"
        )
    return output


_FORMATS: dict[Format, Callable[[Sink, ExportOptions], Exporter]] = {
    "coco": lambda sink, options: CocoJson(sink, options.category),
    "davis": lambda sink, options: Davis(sink),
    "mots": lambda sink, options: Mots(sink, options.mots_class),
    "vot": lambda sink, options: Vot(sink, options.region),
    "youtube-vis": lambda sink, options: YouTubeVis(sink, options.category),
}
