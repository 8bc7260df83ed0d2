"""Read the output of a run: `open_run`, right at any time, local and in object storage alike."""

from pipeline.reading.clip import Clip
from pipeline.reading.errors import NoSuchClip, NoSuchFrame, NoSuchObject, NoSuchRun, NotInRun
from pipeline.reading.rows import Rows
from pipeline.reading.run import Run, open_run
from pipeline.reading.tracks import ClipMasks

__all__ = [
    "Clip",
    "ClipMasks",
    "NoSuchClip",
    "NoSuchFrame",
    "NoSuchObject",
    "NoSuchRun",
    "NotInRun",
    "Rows",
    "Run",
    "open_run",
]
