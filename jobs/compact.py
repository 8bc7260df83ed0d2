#!/usr/bin/env python3
"""Merge the small parts of an output folder into fewer, larger ones; readers may go on meanwhile.

    python jobs/compact.py --output s3://bucket/run1
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":  # as a script, the checkout it lies in comes before any installed copy
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from model.command_line import command_line, main
from pipeline.errors import UsageError
from pipeline.output.compact import CompactOptions
from pipeline.output.compact import compact as merge_small_parts


def compact(options: CompactOptions) -> int:
    """Merge small parts of OUTPUT/masks and OUTPUT/clips."""
    return merge_small_parts(options)


app = command_line(compact, UsageError)

if __name__ == "__main__":
    main(app)
