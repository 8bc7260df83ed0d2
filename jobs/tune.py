#!/usr/bin/env python3
"""Search tracker parameters for a model on sequences of the train split, many candidates side by side.

    ray job submit --working-dir . -- python jobs/tune.py --weights s3://bucket/weights.safetensors \
        --data s3://bucket/davis --output s3://bucket/tune1
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":  # as a script, the checkout it lies in comes before any installed copy
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from model.command_line import command_line, main
from pipeline.errors import UsageError
from pipeline.training.options import TuneOptions


def tune(options: TuneOptions) -> int:
    """Write the parameters with the best mean J of WEIGHTS on DATA to OUTPUT/tracker.json."""
    from pipeline.cluster.connect import choose_authentication

    choose_authentication()
    from pipeline.training.tune import tune as run

    return run(options)


app = command_line(tune, UsageError)

if __name__ == "__main__":
    main(app)
