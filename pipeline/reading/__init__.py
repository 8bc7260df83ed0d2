"""Read the output of a run: `open_run`, right at any time, local and in object storage alike.

The names are imported on first use: whoever needs only options of a reader does not pay for pyarrow's datasets.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.reading.clip_masks import ClipMasks
    from pipeline.reading.errors import NoSuchClip, NoSuchFrame, NoSuchObject, NoSuchRun, NotInRun
    from pipeline.reading.opened_run import Run, open_run
    from pipeline.reading.rows import Rows
    from pipeline.reading.run_clip import RunClip

__all__ = [
    "ClipMasks",
    "NoSuchClip",
    "NoSuchFrame",
    "NoSuchObject",
    "NoSuchRun",
    "NotInRun",
    "Rows",
    "Run",
    "RunClip",
    "open_run",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        modules = {"ClipMasks": "clip_masks", "Rows": "rows", "Run": "opened_run", "RunClip": "run_clip"}
        module = modules.get(name, "opened_run" if name == "open_run" else "errors")
        return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
