#!/usr/bin/env python3
"""Write a run's masks as YouTube-VIS or COCO JSON, DAVIS pictures, MOT, MOTS and YOLO text, VOT, CVAT or Label Studio.

    python jobs/export.py --run s3://bucket/run1 --output s3://bucket/run1-coco --format coco
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":  # as a script, the checkout it lies in comes before any installed copy
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from model.command_line import command_line, main
from pipeline.errors import UsageError
from pipeline.export.options import ExportOptions


def export(options: ExportOptions) -> int:
    """Export chosen clips of RUN into OUTPUT."""
    from pipeline.export.job import (
        export_run,  # what reads tables loads only once the command line is known to be right
    )

    return export_run(options)


app = command_line(export, UsageError)

if __name__ == "__main__":
    main(app)
