"""`jobs/segment.py` with a lease of seconds in place of a minute, so that a restart need not wait for it."""

from __future__ import annotations

import os
from functools import partial

from jobs.segment import app
from pipeline import lease, run

run.acquire = partial(  # type: ignore[assignment]
    lease.acquire, refresh_s=1.0, expire_s=float(os.environ.get("CHAOS_LEASE_EXPIRES_S", "8"))
)

if __name__ == "__main__":
    app()
