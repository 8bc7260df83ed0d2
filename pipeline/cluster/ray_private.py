"""Every private name of Ray that this project uses: each with why it is needed, and until when.

Ray may rename or remove any of these in any version. Where one is gone the run goes on without it, as the function
says. `tests/test_ray_private.py` keeps private names out of every other file. Checked against Ray 2.60.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

logger = logging.getLogger(__name__)

DATA_PROGRESS_LOGGER = "ray.data._internal.progress"
"""Logs that progress bars are off, at every execution; needed while `enable_progress_bars = False` leaves that line.
A logger of this name that nothing writes to is harmless."""


def rayclusters_node_types(namespace: str, name: str) -> dict[str, Any] | None:
    """The autoscaler's configuration of a RayCluster of KubeRay; None where its cluster is fixed.

    Why: a driver has to know which nodes may come, and Ray has no public call for it. Until: one answers for KubeRay
    (`ray.autoscaler.sdk` has none in 2.60).

    Raises:
        ImportError, AttributeError: Ray has renamed this; `observe_cluster` says then that the growth is unknown.
    """
    from ray.autoscaler._private.kuberay import node_provider
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

    resource = node_provider.KubernetesHttpApiClient(namespace=namespace).get(f"rayclusters/{name}")
    if not resource["spec"].get("enableInTreeAutoscaling"):
        return None
    return _derive_autoscaling_config_from_ray_cr(resource)


def reported_node_groups() -> list[Any]:
    """The node groups that a platform reported to Ray (`NodeGroupConfig` of its autoscaler's protocol).

    Why and until: as for `rayclusters_node_types`. Without it: none.
    """
    try:
        from ray._private.state import state

        config = state.get_cluster_config()
    except (ImportError, AttributeError) as error:
        logger.debug("this version of Ray tells of no node groups: %s", error)
        return []
    return list(config.node_group_configs) if config else []


def never_connect_by_itself() -> None:
    """From now on a call of Ray without a connection fails, in place of starting another Ray.

    Why: the thread of a Dataset cannot be ended and outlives `ray.shutdown`. RAY_ENABLE_AUTO_CONNECT says the same, but
    is read when Ray is imported. Until: Ray Data can cancel an execution from outside. Without it: that thread may
    start a Ray that ends with this process.
    """
    try:
        from ray._private import auto_init_hook
    except ImportError as error:
        logger.debug("this version of Ray has no switch for connecting by itself: %s", error)
        return
    auto_init_hook.enable_auto_connect = False


def quiet_trainer(trainer: type) -> type:
    """A trainer of Ray Train without its cleaner of placement groups, where Ray has no dashboard.

    Why: the cleaner asks the dashboard, and without one ends with a traceback at every start; a Ray without a dashboard
    ends with this process, and its placement groups with it. Until: Ray Train leaves the cleaner out by itself there.
    Without it: the traceback is shown, the training goes on.
    """
    try:
        from ray._private.worker import get_dashboard_url
        from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback

        if get_dashboard_url():
            return trainer
        create_default_callbacks = trainer._create_default_callbacks  # type: ignore[attr-defined]
    except (ImportError, AttributeError) as error:
        logger.debug("this version of Ray has its cleaner of placement groups elsewhere: %s", error)
        return trainer

    class Quiet(trainer):
        def _create_default_callbacks(self) -> list:
            callbacks = create_default_callbacks(self)
            return [callback for callback in callbacks if not isinstance(callback, PlacementGroupCleanerCallback)]

    return Quiet


def bounded_generator(function: Any, options: Mapping[str, Any], items_ahead: int) -> Any:
    """A remote generator with these options that runs at most so many items ahead of its reader.

    Why: decoded frames would fill the object store; Ray Data bounds its own tasks in the same way. Until: Ray has a
    public option for it. Without it: it runs ahead as far as the object store allows, and Ray spills the rest to disk.
    """
    try:
        return function.options(**options, _generator_backpressure_num_objects=items_ahead)
    except ValueError as error:  # an unknown option, or one of the options is wrong, which is raised here again
        bounded = function.options(**options)
        logger.warning("this version of Ray does not bound how far frames are decoded ahead: %s", error)
        return bounded


def prefer_node(node_id: str) -> Any:
    """The scheduling strategy that takes a node if it has room, else another one.

    Why: `soft=True` alone waits for a node that is busy, and a decode worker can as well run elsewhere. Until: Ray's
    soft affinity has that choice in public. Without it: the worker waits for room on the node.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    try:
        return NodeAffinitySchedulingStrategy(node_id, soft=True, _spill_on_unavailable=True)
    except TypeError as error:
        logger.debug("this version of Ray does not spill from a busy node: %s", error)
        return NodeAffinitySchedulingStrategy(node_id, soft=True)


def name_runtime_env_folder(name: str) -> None:
    """Have a node that this process starts unpack working directories into a folder of this name in Ray's session.

    Why: nodes of one machine share the session's folder, and each unpacks a job's files there anew while others run
    from it; `ray.cluster_utils` does the same. Until: `ray start` has an option for it. Without it: a module that is
    imported late may not be found on such a machine.
    """
    try:
        from ray._private import ray_constants
    except ImportError as error:
        logger.warning("this version of Ray cannot give a node a folder of its own: %s", error)
        return
    ray_constants.DEFAULT_RUNTIME_ENV_DIR_NAME = name
