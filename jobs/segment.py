#!/usr/bin/env python3
"""Track and segment the objects of a manifest's clips into two Parquet tables.

    ray job submit --working-dir . -- python jobs/segment.py --manifest s3://bucket/manifest.parquet \
        --output s3://bucket/run1
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":  # as a script, the checkout it lies in comes before any installed copy
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from model.command_line import command_line, main
from pipeline.errors import UsageError
from pipeline.job import FINISHED, STRICT_FAILED
from pipeline.plan.options import SegmentOptions


def segment(options: SegmentOptions) -> int:
    """Track and segment the objects of MANIFEST's clips into OUTPUT/masks and OUTPUT/clips."""
    from pipeline.cluster.connect import choose_authentication

    choose_authentication()
    from pipeline.driver.run import run  # Ray and the model load only once the command line is known to be right

    status = run(options)
    if options.video is not None and status in (FINISHED, STRICT_FAILED) and not options.dry_run:
        from pipeline.plan.one_video import what_next

        print(what_next(options.video, options.output), file=sys.stderr, flush=True)
    return status


app = command_line(segment, UsageError)

if __name__ == "__main__":
    main(app)
