"""`jobs/segment.py` for tests: a lease of seconds in place of a minute, so that a restart need not wait for it, and,
where CHAOS_FRAME_S is set, an engine that takes so many seconds for each frame of a track and finds nothing."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

from benchmarks.null_model import NullEngine
from jobs.segment import app
from pipeline.driver import run
from pipeline.output import lease

FRAME_S = os.environ.get("CHAOS_FRAME_S")


def slow_engine(model: Any, placement: Any, precision: Any) -> NullEngine:
    """For `pipeline.driver.run.run(options, build_engine=…)`."""
    return NullEngine(float(FRAME_S or 0))


run.acquire = partial(  # type: ignore[assignment]
    lease.acquire, refresh_s=1.0, expire_s=float(os.environ.get("CHAOS_LEASE_EXPIRES_S", "8"))
)
if FRAME_S is not None:
    run.run = partial(run.run, build_engine=slow_engine)  # type: ignore[assignment]

if __name__ == "__main__":
    app()
