"""One small task on a GPU of the cluster, before any work: whether the actors there will be able to compute."""

from __future__ import annotations

import logging
import socket
from typing import Any

from pipeline.cluster.nodes import Cluster
from pipeline.errors import UsageError
from pipeline.plan.placement import Placement

logger = logging.getLogger(__name__)

WAIT_S = 120.0
SHARE = 0.01
"""Of a GPU: enough to see it, also where an actor of another run has the rest."""


def check_gpu(placement: Placement, hosts: Cluster, device: str) -> None:
    """Have one GPU node compute a convolution, where the run is to use GPUs and has such a node already.

    Args:
        hosts: the nodes that actors may be on.
        device: as the option was given.

    Raises:
        UsageError: torch cannot compute there; the message says why, and what to install.
    """
    if placement.device != "cuda" or not any(node.now and node.gpus for node in hosts.nodes):
        return
    import ray

    claim: dict[str, Any] = {"num_cpus": 0, "num_gpus": min(SHARE, placement.actor_gpus), "max_retries": 0}
    if placement.actor_labels:
        claim["label_selector"] = dict(placement.actor_labels)
    try:
        host, fault = ray.get(ray.remote(_fault).options(**claim).remote(), timeout=WAIT_S)
    except ray.exceptions.GetTimeoutError:
        logger.warning("no GPU could be looked at within %g s: the cluster's GPUs are busy, or do not answer", WAIT_S)
        return
    except ray.exceptions.RayError as error:
        host, fault = "", f"looking at a GPU ended the process ({str(error).splitlines()[0]})"
    if fault is not None:
        where = f"on node {host}, " if host else ""
        raise UsageError(f"--device {device}: {where}{fault}; --device cpu does without GPUs")


def _fault() -> tuple[str, str | None]:
    """This node, and why torch cannot compute on its GPU."""
    host = socket.gethostname()
    try:
        from model.network.cuda import cuda_fault
    except (ImportError, OSError) as error:
        return host, f"torch cannot be loaded ({error}): install it anew"
    return host, cuda_fault()
