"""Connect to Ray: the cluster that Ray's own rules name, or a local one on loopback."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

from pipeline.options import UsageError

ROOT = Path(__file__).resolve().parents[1]


def connect() -> bool:
    """Connect to the cluster of RAY_ADDRESS or to one running on this machine, else start a local Ray.

    Does nothing where this process is connected already, and says so by False. A local Ray listens on loopback
    only and so needs no token; a running cluster keeps the authentication it was started with.

    Raises:
        UsageError: RAY_ADDRESS names a cluster that cannot be joined.
    """
    import ray

    if ray.is_initialized():
        return False
    # Workers import what the driver runs, also where nothing is installed.
    paths = [str(ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    address = os.environ.get("RAY_ADDRESS", "")
    if address not in ("", "local"):
        try:
            ray.init(address=address, log_to_driver=True, logging_level=logging.WARNING)
        except (ConnectionError, RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise UsageError(f"RAY_ADDRESS {address}: no cluster could be joined there ({reason})") from error
        return True
    if not address:
        with contextlib.suppress(ConnectionError):
            ray.init(address="auto", log_to_driver=True, logging_level=logging.WARNING)
            return True
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    ray.init(
        address="local",
        include_dashboard=False,
        log_to_driver=True,
        logging_level=logging.WARNING,
        _node_ip_address="127.0.0.1",
    )
    return True


def configure_data() -> None:
    """Set what Ray Data must do for this service, before any Dataset exists.

    A shard may take hours, so a quiet execution is no fault; a lost block is dropped and its clips are run again
    by the driver, which knows them; progress is ours.
    """
    from ray.data import DataContext

    context = DataContext.get_current()
    context.execution_no_progress_timeout_s = -1
    context.max_errored_blocks = -1
    context.enable_progress_bars = False
    context.actor_task_retry_on_errors = False
    logging.getLogger("ray.data").setLevel(logging.WARNING)
