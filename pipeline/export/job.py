"""A run's masks in another tool's format: what `jobs/export.py` does."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Protocol

from pipeline import storage
from pipeline.errors import UsageError
from pipeline.export.errors import ExportError
from pipeline.export.export_clip import ExportClip, each_clip
from pipeline.export.formats.coco_json import CocoJson
from pipeline.export.formats.cvat_xml import CvatXml
from pipeline.export.formats.davis import Davis
from pipeline.export.formats.label_studio import LabelStudio
from pipeline.export.formats.mot import Mot
from pipeline.export.formats.mots import Mots
from pipeline.export.formats.vot import Vot
from pipeline.export.formats.yolo import Yolo
from pipeline.export.formats.youtube_vis import YouTubeVis
from pipeline.export.options import ExportOptions, Format
from pipeline.export.pictures import write_pictures
from pipeline.export.sink import Sink
from pipeline.job import FAILED, FINISHED, STRICT_FAILED, run_job
from pipeline.reading.draw import RenderError
from pipeline.reading.selection import open_selection

LOG_EVERY_S = 5.0


class Exporter(Protocol):
    """Takes one clip after another, and is closed after the last."""

    def add(self, clip: ExportClip) -> None: ...

    def close(self) -> None: ...


def export_run(options: ExportOptions) -> int:
    """Exports the chosen clips; returns the exit status (0, 1, 3 or 130). Memory is that of one clip.

    Raises:
        UsageError: exit status 2: something is unusable, found before any work started.
    """
    return run_job(
        lambda: _export(options),
        interrupted="interrupted by {signal}: what was exported is not whole",
        expected=(storage.StorageError,),
    )


def _export(options: ExportOptions) -> int:
    run, chosen = open_selection(options.run, options.selection, videos=options.videos)
    if options.val and len(chosen) == 1:
        raise UsageError(f"--val {options.val}: only one clip is chosen, and a clip goes into one split as a whole")
    held_out = _held_out(chosen, options.val)
    output = _empty_folder(options.output)
    exported = frames = failed = 0
    last_line = time.monotonic()
    with Sink(output) as sink:
        exporter = _FORMATS[options.format](sink, options)
        for clip in each_clip(run, chosen, include_lost=options.include_lost):
            try:
                clip = replace(clip, split="val" if clip.clip_id in held_out else "train")
                if options.images:
                    clip = write_pictures(sink, clip, options)
                exporter.add(clip)
                exported, frames = exported + 1, frames + len(clip.frames)
            except (ExportError, RenderError) as error:
                failed += 1
                print(f"failed: {error}", file=sys.stderr, flush=True)
            if time.monotonic() - last_line >= LOG_EVERY_S:
                last_line = time.monotonic()
                print(f"{exported + failed}/{len(chosen)} clips", file=sys.stderr, flush=True)
        exporter.close()
    without = len(chosen) - exported - failed
    print(
        f"{len(chosen)} clips: {exported} exported, {failed} failed, {without} without masks; "
        f"{frames} frames in {storage.redact(output)}",
        flush=True,
    )
    if not exported:
        return FAILED
    return STRICT_FAILED if failed and options.strict else FINISHED


def _held_out(clip_ids: Sequence[str], fraction: float) -> set[str]:
    """The clips of the split val: the same ones whatever the order, one at least where one is asked for."""
    number = min(max(1, round(fraction * len(clip_ids))), len(clip_ids) - 1) if fraction else 0
    return set(sorted(clip_ids, key=lambda clip_id: sha256(clip_id.encode()).digest())[:number])


def _empty_folder(uri: str) -> str:
    try:
        output = storage.parse(uri).uri
        entry = next(storage.list_files(output), None)
        storage.check_writable(output)
    except storage.StorageError as error:
        raise UsageError(f"--output: {error}") from error
    if entry is not None:
        raise UsageError(
            f"--output {storage.redact(output)}: it holds files already ({storage.name(entry.uri)}), "
            "which an export would be mixed with: name another folder"
        )
    return output


_FORMATS: dict[Format, Callable[[Sink, ExportOptions], Exporter]] = {
    "coco": lambda sink, options: CocoJson(sink, options),
    "cvat": lambda sink, options: CvatXml(sink, options.category, polygons=options.polygons),
    "davis": lambda sink, options: Davis(sink),
    "label-studio": lambda sink, options: LabelStudio(sink, options.category),
    "mot": lambda sink, options: Mot(sink),
    "mots": lambda sink, options: Mots(sink, options.mots_class),
    "vot": lambda sink, options: Vot(sink, options.region),
    "yolo-box": lambda sink, options: Yolo(sink, options, "box"),
    "yolo-seg": lambda sink, options: Yolo(sink, options, "segment"),
    "youtube-vis": lambda sink, options: YouTubeVis(sink, options.category),
}
