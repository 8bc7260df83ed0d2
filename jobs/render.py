#!/usr/bin/env python3
"""Draw chosen clips of a run as videos: masks, rotated boxes, ids and scores on the source frames.

    ray job submit --working-dir . -- python jobs/render.py --run s3://bucket/run1 --output s3://bucket/run1-videos \
        --where "status = 'partial'" --limit 20
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":  # as a script, the checkout it lies in comes before any installed copy
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from model.command_line import command_line, main
from pipeline.errors import UsageError
from pipeline.render.options import RenderOptions


def render(options: RenderOptions) -> int:
    """Draw chosen clips of RUN into OUTPUT/<clip_id>.mp4."""
    from pipeline.cluster.connect import choose_authentication

    choose_authentication()
    from pipeline.render.job import render_run  # Ray and tables load only once the command line is known to be right

    return render_run(options)


app = command_line(render, UsageError)

if __name__ == "__main__":
    main(app)
