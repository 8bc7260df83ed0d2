"""Where a version of Ray lacks a private name, the run goes on without what the name was for."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import pytest
from ray.util import scheduling_strategies

from pipeline.cluster import nodes, ray_private

NODE = "ab" * 28


class Trainer:
    """A trainer of Ray Train as far as its callbacks go."""

    def _create_default_callbacks(self) -> list:
        from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback

        return [PlacementGroupCleanerCallback(), "another"]


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Takes modules away, so that importing them fails."""

    def take_away(*names: str) -> None:
        for name in names:
            parent, _, last = name.rpartition(".")
            monkeypatch.delattr(importlib.import_module(parent), last, raising=False)
            monkeypatch.setitem(sys.modules, name, None)

    return take_away


def test_connecting_by_itself_is_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray._private import auto_init_hook

    monkeypatch.setattr(auto_init_hook, "enable_auto_connect", True)
    ray_private.never_connect_by_itself()
    assert auto_init_hook.enable_auto_connect is False


def test_without_the_switch_it_stays_as_it_is(missing: Any) -> None:
    missing("ray._private.auto_init_hook")
    ray_private.never_connect_by_itself()


def test_a_trainer_without_a_dashboard_has_no_cleaner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray._private.worker.get_dashboard_url", lambda: None)
    assert ray_private.quiet_trainer(Trainer)()._create_default_callbacks() == ["another"]


def test_a_trainer_with_a_dashboard_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray._private.worker.get_dashboard_url", lambda: "127.0.0.1:8265")
    assert ray_private.quiet_trainer(Trainer) is Trainer


def test_a_trainer_stays_as_it_is_where_the_cleaner_is_elsewhere(missing: Any) -> None:
    missing("ray.train.v2._internal.callbacks.placement_group_callback")
    assert ray_private.quiet_trainer(Trainer) is Trainer


def test_a_trainer_with_other_callbacks_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray._private.worker.get_dashboard_url", lambda: None)
    assert ray_private.quiet_trainer(dict) is dict


class OlderFunction:
    """A remote function of a Ray whose only options are public."""

    def options(self, **options: Any) -> dict[str, Any]:
        for name in options:
            if name != "num_cpus":
                raise ValueError(f"Invalid option keyword {name}")
        return options


def test_a_generator_runs_ahead_where_ray_cannot_bound_it(caplog: pytest.LogCaptureFixture) -> None:
    assert ray_private.bounded_generator(OlderFunction(), {"num_cpus": 0.5}, 3) == {"num_cpus": 0.5}
    assert "does not bound how far frames are decoded ahead" in caplog.text
    with pytest.raises(ValueError, match="keyword cpus"):
        ray_private.bounded_generator(OlderFunction(), {"cpus": 1}, 3)


def test_a_node_is_preferred() -> None:
    strategy = ray_private.prefer_node(NODE)
    assert (strategy.node_id, strategy.soft, strategy._spill_on_unavailable) == (NODE, True, True)


def test_a_node_is_waited_for_where_ray_does_not_spill(monkeypatch: pytest.MonkeyPatch) -> None:
    class Older:
        def __init__(self, node_id: str, soft: bool) -> None:
            self.given = node_id, soft

    monkeypatch.setattr(scheduling_strategies, "NodeAffinitySchedulingStrategy", Older)
    assert ray_private.prefer_node(NODE).given == (NODE, True)


def test_a_node_gets_a_folder_of_its_own(monkeypatch: pytest.MonkeyPatch, missing: Any) -> None:
    from ray._private import ray_constants

    monkeypatch.setattr(ray_constants, "DEFAULT_RUNTIME_ENV_DIR_NAME", "runtime_resources")
    ray_private.name_runtime_env_folder("ours")
    assert ray_constants.DEFAULT_RUNTIME_ENV_DIR_NAME == "ours"
    missing("ray._private.ray_constants")
    ray_private.name_runtime_env_folder("others")
    assert ray_constants.DEFAULT_RUNTIME_ENV_DIR_NAME == "ours"


@pytest.mark.usefixtures("ray_local")
def test_a_cluster_is_seen_where_ray_tells_of_no_groups(missing: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    missing("ray._private.state")
    assert not nodes.observe_cluster().growth_unknown
    missing("ray.autoscaler._private.kuberay.autoscaling_config")
    monkeypatch.setenv("RAY_CLUSTER_NAME", "x")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setattr(nodes.Path, "read_text", lambda path: "default")
    cluster = nodes.observe_cluster()
    assert cluster.growth_unknown and cluster.cpus == 2
