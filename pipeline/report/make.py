"""Make a run's report: `report.json` and `report.html` in its folder below the output."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from typing import Any

from pipeline import storage
from pipeline.output.names import RUNS_FOLDER
from pipeline.report.figures import Figures
from pipeline.report.gallery import draw_gallery
from pipeline.report.page import render_page
from pipeline.report.sheet import ShownClip

logger = logging.getLogger(__name__)


def write_report(
    output: str, figures: Figures, *, run: dict[str, Any], config: dict[str, Any], gallery: bool = True
) -> str:
    """Draw the gallery and write both files; returns the page's URI.

    Args:
        output: URI of the output folder.
        figures: what the tables say, with the sample of clips to show.
        run: ``run_id``, ``exit_status``, ``replaced``, ``output``, ``started_at`` and ``finished_at``, the last two in
            ISO 8601.
        config: what `config.json` holds.
        gallery: False leaves the clips out, for a run that failed and may have no Ray any more.

    Raises:
        StorageError: a file cannot be written.
    """
    shown = _gallery(output, figures, config) if gallery else []
    if figures.sample.clips and not gallery:
        figures.warnings.append("No clips are shown, since the run failed. `python -m pipeline.report` draws them.")
    folder = storage.join(output, RUNS_FOLDER, run["run_id"])
    values = {**run, **figures.to_dict(), "gallery": _for_machines(figures, shown)}
    storage.write_bytes(storage.join(folder, "report.json"), (json.dumps(values, indent=2) + "\n").encode())
    page = storage.join(folder, "report.html")
    text = render_page(figures, shown, run=run, config=config)
    storage.write_bytes(page, text.encode())
    return page


def _gallery(output: str, figures: Figures, config: dict[str, Any]) -> list[ShownClip]:
    try:
        shown = draw_gallery(output, figures.sample, config.get("video_folders", []))
    except Exception as error:
        logger.warning("the report has no gallery: %s", error)
        figures.warnings.append(f"The gallery could not be drawn: {error}")
        return []
    if without := sum(not clip.frames and clip.clip["status"] != "failed" for clip in shown):
        logger.warning("%d of the %d clips in the report have no pictures; it says why", without, len(shown))
    return sorted(shown, key=lambda clip: not clip.frames)  # in the order of their ids, those without pictures last


def _for_machines(figures: Figures, shown: list[ShownClip]) -> dict[str, Any]:
    """The gallery without its pictures."""
    return {
        "shown": len(shown),
        "of": figures.sample.total,
        "clips": [
            {
                "clip_id": clip.clip["clip_id"],
                "status": clip.clip["status"],
                "frames": [frame.frame_index for frame in clip.frames],
                "objects": [{k: v for k, v in asdict(item).items() if k != "colour"} for item in clip.objects],
                "notes": clip.notes,
            }
            for clip in shown
        ],
    }
