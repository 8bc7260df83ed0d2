"""The cluster launcher's files: valid for Ray's own schema, closed to the world, and of a shape that the job fits."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from pipeline.cluster.nodes import Cluster, Node, _groups_of
from pipeline.plan.options import SegmentOptions
from pipeline.plan.placement import place
from tests.conftest import ROOT
from tests.test_docs import table_under

CLOUDS = ("aws", "gcp")
# The compute capability of the GPUs of machine families.
CAPABILITIES = {"p3": 7.0, "g4dn": 7.5, "p4d": 8.0, "g5": 8.6, "g6": 8.9, "p5": 9.0, "a2": 8.0, "g2": 8.9, "a3": 9.0}


def text(cloud: str) -> str:
    return (ROOT / "infra" / cloud / "cluster.yaml").read_text()


def config(cloud: str) -> dict[str, Any]:
    """The file, filled with Ray's defaults as `ray up` does."""
    return prepare_config(yaml.safe_load(text(cloud)))


@pytest.mark.parametrize("cloud", CLOUDS)
def test_ray_takes_the_file(cloud: str) -> None:
    made = config(cloud)
    validate_config(made)
    assert made["provider"]["type"] == cloud


MISTAKES: dict[str, Callable[[dict], Any]] = {
    "an unknown key": lambda made: made.update(workers=4),
    "a provider that is no name": lambda made: made["provider"].update(type=4),
    "no provider": lambda made: made.pop("provider"),
    "text for a number": lambda made: made.update(max_workers="12"),
    "a node without resources": lambda made: made["available_node_types"]["gpu"].pop("resources"),
    "a part of a CPU": lambda made: made["available_node_types"]["gpu"]["resources"].update(CPU=0.5),
    "a head that is no node type": lambda made: made.update(head_node_type="boss"),
    "a docker key that is none": lambda made: made["docker"].update(picture="x"),
}


@pytest.mark.parametrize("cloud", CLOUDS)
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_fails(cloud: str, mistake: str) -> None:
    made = copy.deepcopy(config(cloud))
    MISTAKES[mistake](made)
    with pytest.raises((jsonschema.ValidationError, ValueError)):
        validate_config(made)


@pytest.mark.parametrize("cloud", CLOUDS)
def test_the_job_fits_the_cluster(cloud: str) -> None:
    made = config(cloud)
    head = made["available_node_types"][made["head_node_type"]]
    assert head["resources"]["CPU"] == 0 and head["max_workers"] == 0
    groups = _groups_of(made)
    assert sum(group.most for group in groups) == made["max_workers"]
    placed = place(SegmentOptions(manifest="m", output="o"), Cluster((Node(0.0), *groups)))
    assert (placed.device, placed.actors.maximum, placed.actor_cpus, placed.decode_cpus) == ("cuda", 4, 1.0, 1.0)
    assert "--num-cpus=0" in " ".join(made["head_start_ray_commands"])
    store = int(re.findall(r"--object-store-memory=(\d+)", made["worker_start_ray_commands"][1])[0])
    assert 0.6 * store >= 16 * 4 * (32 << 20)  # 16 lanes, four chunks each
    shared_memory = int(re.findall(r"--shm-size=(\d+)gb", " ".join(made["docker"]["run_options"]))[0])
    assert store < shared_memory * 10**9


@pytest.mark.parametrize("cloud", CLOUDS)
def test_nothing_is_open_and_no_secret_is_written(cloud: str) -> None:
    made = config(cloud)
    assert "--env RAY_AUTH_MODE=token" in made["docker"]["run_options"]
    assert made["file_mounts"]["/home/ray/.ray/auth_token"].endswith(".ray/auth_token")
    commands = " ".join(made["head_start_ray_commands"])
    assert "--dashboard-host=127.0.0.1" in commands and "RAY_AUTH_MODE=disabled" not in text(cloud)
    assert not re.search(r"AWS_(SECRET_)?ACCESS_KEY(_ID)?=[A-Za-z0-9]", text(cloud))
    for name, node in made["available_node_types"].items():
        if name != made["head_node_type"]:
            assert re.search("spot|SPOT", str(node["node_config"])), "preemption is a normal event"


def default_build() -> tuple[int, float]:
    """The driver and the capability that the pinned build of torch needs, as docs/install.md has them."""
    rows = table_under((ROOT / "docs" / "install.md").read_text(), "A GPU's machine needs a driver")
    (pin,) = re.findall(r"^torch==.+$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    ((_, _, driver, capability),) = [row for row in rows if f"`{pin}`" in row[0]]
    return int(driver.split()[0]), float(capability.split()[0])


def test_the_drivers_run_the_images_build_of_torch() -> None:
    driver, capability = default_build()
    assert (driver, capability) >= (580, 7.5)  # CUDA 13
    (image,) = set(re.findall(r"sourceImage: (\S+)", text("gcp")))
    assert int(image.rsplit("-nvidia-", 1)[1]) >= driver
    for node in config("aws")["available_node_types"].values():
        # An alias of Ray's own, and an image by its number, would stay at the driver that it once had.
        parameter = "resolve:ssm:/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-22.04/latest/"
        assert node["node_config"]["ImageId"].startswith(parameter)
    for cloud, key in (("aws", "InstanceType"), ("gcp", "machineType")):
        family = re.split(r"[.-]", config(cloud)["available_node_types"]["gpu"]["node_config"][key])[0]
        assert CAPABILITIES[family] >= capability
    assert f"{driver} or newer" in (ROOT / "docs" / "cluster.md").read_text()
