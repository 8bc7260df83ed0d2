"""Connect to Ray: the cluster that Ray's own rules name, or a local one."""

from __future__ import annotations

import logging
import os
import secrets
import warnings
from pathlib import Path

from pipeline.options import UsageError

logger = logging.getLogger(__name__)
ROOT = Path(__file__).resolve().parents[1]


def choose_authentication() -> None:
    """Give a local Ray a token of its own. Call it before Ray is first imported, which is when Ray looks.

    Ray's servers listen on every interface. A token that lives and dies with this process keeps others out and,
    unlike Ray's own default, leaves no file behind that changes how the next cluster is started. Where a cluster is
    to be joined, or the user has chosen, nothing changes.
    """
    if _cluster_address() == "local" and "RAY_AUTH_MODE" not in os.environ:
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def connect() -> bool:
    """Connect to the cluster of RAY_ADDRESS, or to the one that `ray start` started here, else start a local Ray.

    Does nothing where this process is connected already, and says so by False.

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
    address = _cluster_address()
    if address == "local":
        _start_local()
        return True
    try:
        ray.init(address=address, log_to_driver=True, logging_level=logging.WARNING)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(
            f"the Ray cluster at {address} could not be joined ({reason}): "
            "set RAY_ADDRESS to a running one, or to local for a Ray of this job's own"
        ) from error
    # Whoever ran `ray start` here once may not remember.
    logger.info("joined the Ray cluster at %s; RAY_ADDRESS=local starts a Ray of the job's own", address)
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
    context.max_consecutive_actor_init_deaths = 5  # an actor may be killed while it starts; none by default
    context.enable_progress_bars = False
    context.actor_task_retry_on_errors = False
    # A pool that may grow does so when its actors have a shard waiting (`pipeline.execute`), which is 1.5 shards for
    # each of two places; Ray's own 1.75 would take a second one.
    context.autoscaling_config.actor_pool_util_upscaling_threshold = 1.25
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)
    # Ray 2.60 has no other way to bound the retries of an actor's calls than the arguments it warns of.
    warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated")


def _cluster_address() -> str:
    """RAY_ADDRESS, or what `ray start` on this machine has noted, or `local`."""
    noted = Path(os.environ.get("RAY_TMPDIR") or "/tmp", "ray", "ray_current_cluster")
    return os.environ.get("RAY_ADDRESS") or (noted.read_text().strip() if noted.is_file() else "") or "local"


def _start_local() -> None:
    """Start a Ray of this process's own; a machine so busy that Ray gives up waiting for itself gets a second try."""
    import ray

    for last_try in (False, True):
        try:
            ray.init(address="local", include_dashboard=False, log_to_driver=True, logging_level=logging.WARNING)
            return
        except Exception as error:
            ray.shutdown()
            if last_try or "timed out" not in str(error):
                raise
