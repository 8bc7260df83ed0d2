"""What a Ray cluster has, node by node, and what its autoscaler may add.

Ray itself keeps no record of node groups that a driver could read, so they are taken from where each kind of
cluster has them: the RayCluster resource under KubeRay, the launcher's file on a head node that `ray up` started,
and Ray's own cluster configuration where a platform reports one.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.cluster import ray_private

logger = logging.getLogger(__name__)

GROUP_LABEL = "ray.io/node-group"
LAUNCHER_CONFIG = Path("~/ray_bootstrap_config.yaml")


@dataclass(frozen=True, slots=True)
class Node:
    """Nodes of one shape.

    Attributes:
        cpus, gpus: what Ray may hand out on one of them.
        object_store: bytes of its object store; 0 where that is not known.
        labels: Ray's labels of the node.
        now: how many there are.
        most: how many there can be.
    """

    cpus: float
    gpus: float = 0.0
    object_store: float = 0.0
    labels: Mapping[str, str] = field(default_factory=dict)
    now: int = 1
    most: int = 1

    def has(self, wanted: Mapping[str, str]) -> bool:
        """Whether it carries all of these labels."""
        return all(self.labels.get(key) == value for key, value in wanted.items())


@dataclass(frozen=True, slots=True)
class Cluster:
    """The nodes of a cluster, those of one shape together.

    Attributes:
        growth_unknown: an autoscaler may add nodes, but which could not be found out.
    """

    nodes: tuple[Node, ...]
    growth_unknown: bool = False

    @property
    def cpus(self) -> float:
        """CPUs there can be."""
        return sum(node.cpus * node.most for node in self.nodes)

    @property
    def gpus(self) -> float:
        """GPUs there can be."""
        return sum(node.gpus * node.most for node in self.nodes)

    def only(self, labels: Mapping[str, str]) -> Cluster:
        """The nodes that carry these labels."""
        return replace(self, nodes=tuple(node for node in self.nodes if node.has(labels)))


def observe_cluster() -> Cluster:
    """Read what the connected Ray cluster has, and what its autoscaler may add."""
    import ray

    live = [_live(node) for node in ray.nodes() if node["Alive"]]
    try:
        groups = _reported_groups() or _groups_of(_kuberay_config() or _launcher_config() or {})
    except Exception as error:
        logger.warning("what the autoscaler may add could not be read: %s", error)
        return Cluster(merge(live, ()), growth_unknown=True)
    return Cluster(merge(live, groups))


def living_nodes() -> set[str]:
    """Ray's ids of the nodes that are up."""
    import ray

    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}


def merge(live: Iterable[Node], groups: Iterable[Node]) -> tuple[Node, ...]:
    """Live nodes of one shape and labels together, and what is left of each group beside its live nodes.

    A live node belongs to the group whose label it carries, else to the first of its shape.
    """
    counted: Counter[int] = Counter()
    kinds: dict[tuple[Any, ...], list[Node]] = {}
    groups = tuple(groups)
    for node in live:
        kinds.setdefault((node.cpus, node.gpus, *sorted(node.labels.items())), []).append(node)
        position = next((i for i, group in enumerate(groups) if _belongs(node, group)), None)
        if position is not None:
            counted[position] += 1
    present = [
        replace(alike[0], object_store=min(node.object_store for node in alike), now=len(alike), most=len(alike))
        for alike in kinds.values()
    ]
    to_come = [replace(group, now=0, most=group.most - counted[i]) for i, group in enumerate(groups)]
    return (*present, *(node for node in to_come if node.most > 0))


def _live(node: dict[str, Any]) -> Node:
    has = node["Resources"]
    labels = {key: value for key, value in (node.get("Labels") or {}).items() if key != "ray.io/node-id"}
    return Node(has.get("CPU", 0.0), has.get("GPU", 0.0), has.get("object_store_memory", 0.0), labels)


def _belongs(node: Node, group: Node) -> bool:
    if GROUP_LABEL in node.labels:
        return node.labels[GROUP_LABEL] == group.labels[GROUP_LABEL]
    return (node.cpus, node.gpus) == (group.cpus, group.gpus)


def _groups_of(config: Mapping[str, Any]) -> list[Node]:
    """The worker groups of an autoscaler's configuration (`available_node_types`)."""
    types = config.get("available_node_types", {})
    groups = []
    for name, kind in types.items():
        has = kind.get("resources") or {}
        labels = {GROUP_LABEL: name, **(kind.get("labels") or {})}
        most = min(kind.get("max_workers", 0), config.get("max_workers", kind.get("max_workers", 0)))
        if name != config.get("head_node_type") and most > 0:
            groups.append(Node(float(has.get("CPU", 0)), float(has.get("GPU", 0)), labels=labels, now=0, most=most))
    return groups


def _kuberay_config() -> dict[str, Any] | None:
    """The autoscaler's view of the RayCluster that this pod belongs to; None where there is none, or it is fixed."""
    name, host = os.environ.get("RAY_CLUSTER_NAME"), os.environ.get("KUBERNETES_SERVICE_HOST")
    if not name or not host:
        return None
    namespace = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace").read_text().strip()
    return ray_private.rayclusters_node_types(namespace, name)


def _launcher_config() -> dict[str, Any] | None:
    """The configuration that `ray up` left on its head node, which is where a submitted job's driver runs."""
    import yaml

    path = LAUNCHER_CONFIG.expanduser()
    return yaml.safe_load(path.read_text()) if path.is_file() else None


def _reported_groups() -> list[Node]:
    """The node groups that a platform reported to Ray."""
    groups = []
    for group in ray_private.reported_node_groups():
        has, most = dict(group.resources), group.max_count if group.max_count >= 0 else 1_000_000
        labels = {GROUP_LABEL: group.name}
        groups.append(Node(float(has.get("CPU", 0)), float(has.get("GPU", 0)), labels=labels, now=0, most=most))
    return groups
