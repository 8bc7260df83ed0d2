"""What a cluster has and may get, read from where each kind of cluster keeps it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.cluster import nodes
from pipeline.cluster.nodes import GROUP_LABEL, Cluster, Node, merge


def group(name: str, cpus: float, gpus: float, most: int) -> Node:
    return Node(cpus, gpus, labels={GROUP_LABEL: name}, now=0, most=most)


def test_a_group_has_left_what_its_live_nodes_do_not_take() -> None:
    live = [Node(8, 1, labels={GROUP_LABEL: "gpu"})] * 3 + [Node(0, labels={GROUP_LABEL: "headgroup"})]
    found = merge(live, [group("gpu", 8, 1, 5), group("decode", 8, 0, 4)])
    assert [(node.gpus, node.now, node.most) for node in found] == [(1, 3, 3), (0, 1, 1), (1, 0, 2), (0, 0, 4)]
    assert Cluster(found).gpus == 5


def test_a_node_without_a_label_belongs_to_the_group_of_its_shape() -> None:
    found = merge([Node(8, 1), Node(4)], [group("gpu", 8, 1, 2), group("cpu", 4, 0, 1)])
    assert [(node.gpus, node.now, node.most) for node in found] == [(1, 1, 1), (0, 1, 1), (1, 0, 1)]


def test_nodes_of_one_shape_count_with_the_smallest_object_store() -> None:
    (node,) = merge([Node(4, object_store=9.0), Node(4, object_store=5.0)], [])
    assert (node.now, node.object_store) == (2, 5.0)


def test_groups_of_a_cluster_that_ray_up_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds: dict[str, Any] = {
        "head": {"resources": {"CPU": 0}, "max_workers": 0},
        "gpu": {"resources": {"CPU": 16, "GPU": 4}, "max_workers": 8, "labels": {"pool": "spot"}},
        "none": {"resources": {"CPU": 16}, "max_workers": 0},
    }
    config = {"head_node_type": "head", "max_workers": 6, "available_node_types": kinds}
    (tmp_path / "bootstrap.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.setattr(nodes, "LAUNCHER_CONFIG", tmp_path / "bootstrap.yaml")
    (found,) = nodes._groups_of(nodes._launcher_config())
    assert (found.cpus, found.gpus, found.now, found.most) == (16, 4, 0, 6)
    assert found.labels == {GROUP_LABEL: "gpu", "pool": "spot"}


@pytest.mark.usefixtures("ray_local")
def test_a_cluster_is_seen_node_by_node(monkeypatch: pytest.MonkeyPatch) -> None:
    (node,) = nodes.observe_cluster().nodes
    assert (node.cpus, node.gpus, node.now, node.most, node.object_store) == (2, 0, 1, 1, 1024**3)
    # In a pod of KubeRay whose cluster cannot be read, growth is possible but unknown.
    monkeypatch.setenv("RAY_CLUSTER_NAME", "x")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    assert nodes.observe_cluster().growth_unknown
