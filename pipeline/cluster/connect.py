"""Connect to Ray: the cluster that Ray's own rules name, or a local one."""

from __future__ import annotations

import errno
import logging
import os
import secrets
import sys
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.cluster import ray_private
from pipeline.disk import is_full, require_space
from pipeline.errors import UsageError

logger = logging.getLogger(__name__)
ROOT = Path(__file__).resolve().parents[2]

# What Ray says when a part of it did not answer another one in time.
_TOO_SLOW = ("timed out", "Failed to connect to GCS")


def choose_authentication() -> None:
    """Give a local Ray a token of its own. Call it before Ray is first imported, which is when Ray looks.

    Ray's servers listen on every interface. A token that lives and dies with this process keeps others out and,
    unlike Ray's own default, leaves no file behind that changes how the next cluster is started, and needs no home
    that can be written. Where a cluster is to be joined, or the user has chosen, nothing changes.
    """
    mode = os.environ.get("RAY_AUTH_MODE")
    missing = mode is None or (mode.lower() == "token" and not _has_token())
    if _cluster_address() == "local" and missing:
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def connect(environment: Mapping[str, str] | None = None) -> bool:
    """Connect to the cluster of RAY_ADDRESS, or to the one that `ray start` started here, else start a local Ray.

    Does nothing where this process is connected already, and says so by False.

    Args:
        environment: variables of this process that workers on other machines need too.

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
        start_ray(logging_level=logging.WARNING)
        return True
    try:
        ray.init(
            address=address,
            log_to_driver=True,
            logging_level=logging.WARNING,
            runtime_env={"env_vars": dict(environment)} if environment and any(environment.values()) else None,
        )
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
    # A pool that may grow does so when its actors have a shard waiting (`pipeline.driver.execute`), which is 1.5
    # shards for each of two places; Ray's own 1.75 would take a second one.
    context.autoscaling_config.actor_pool_util_upscaling_threshold = 1.25
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    logging.getLogger(ray_private.DATA_PROGRESS_LOGGER).setLevel(logging.ERROR)
    # Ray 2.60 has no other way to bound the retries of an actor's calls than the arguments it warns of.
    warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated")


def _has_token() -> bool:
    """Whether there is a token in one of the three places where Ray looks."""
    file = os.environ.get("RAY_AUTH_TOKEN_PATH") or os.path.expanduser("~/.ray/auth_token")
    return bool(os.environ.get("RAY_AUTH_TOKEN")) or os.path.isfile(file)


def _cluster_address() -> str:
    """RAY_ADDRESS, or what `ray start` on this machine has noted, or `local`."""
    noted = Path(_ray_folder(), "ray_current_cluster")
    return os.environ.get("RAY_ADDRESS") or (noted.read_text().strip() if noted.is_file() else "") or "local"


def _ray_folder() -> str:
    """Where Ray puts its files by its own rules (`get_default_ray_temp_dir`), without importing it."""
    linux = os.environ.get("TMPDIR") if sys.platform.startswith("linux") else None
    return os.path.join(os.environ.get("RAY_TMPDIR") or linux or "/tmp", "ray")


def start_ray(**settings: Any) -> None:
    """Start a Ray of this process's own, without a dashboard, with these settings of `ray.init`.

    Ray allows itself half a minute to start, which a machine busy with other work can miss: there are three tries.

    Raises:
        UsageError: there is no place for Ray's files, or no space on its disk.
    """
    import ray

    _require_space()
    for tries_left in (2, 1, 0):
        try:
            ray.init(address="local", include_dashboard=False, log_to_driver=True, **settings)
            return
        except Exception as error:
            ray.shutdown()
            if isinstance(error, OSError) and error.errno in (errno.EROFS, errno.EACCES):
                raise UsageError(
                    f"a local Ray has no place for its files ({error}): set RAY_TMPDIR to a folder that can be written"
                ) from error
            _require_space()  # of a disk that filled up meanwhile Ray says only that it was slow to start
            if is_full(error):
                raise UsageError(f"a local Ray has no space for its files ({error}): free space there") from error
            if not tries_left or not any(words in str(error) for words in _TOO_SLOW):
                raise


def _require_space() -> None:
    """Check the disks that a local Ray and its workers write to: logs, spilled objects, staged videos, rows that wait.

    Raises:
        UsageError: one is full.
    """
    require_space(_ray_folder(), "a local Ray", "set RAY_TMPDIR to a folder on a larger disk")
    require_space(tempfile.gettempdir(), "the folder for temporary files", "set TMPDIR to one on a larger disk")
