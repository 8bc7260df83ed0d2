"""The KubeRay manifests: valid for KubeRay's and Kubernetes' schemas, and of a shape that the job fits."""

from __future__ import annotations

import copy
import gzip
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
from typer.testing import CliRunner

from jobs.segment import app
from pipeline.cluster.nodes import Cluster, Node, _groups_of
from pipeline.plan.options import SegmentOptions
from pipeline.plan.placement import place
from tests.conftest import ROOT
from tests.infra.kustomize import Manifest, load, render

KUBERAY = ROOT / "infra" / "kuberay"
VARIANTS = ("base", "overlays/small", "overlays/large")
KINDS = ("RayCluster", "RayJob")
Where = tuple[str, str]


@cache
def manifests(variant: str) -> dict[str, Manifest]:
    return {manifest["kind"]: manifest for manifest in render(KUBERAY / variant)}


def cluster_of(manifest: Manifest) -> Manifest:
    """A manifest's cluster as a RayCluster."""
    spec = manifest["spec"].get("rayClusterSpec", manifest["spec"])
    return {"kind": "RayCluster", "metadata": {"name": "siammask", "namespace": "default"}, "spec": copy.deepcopy(spec)}


def strict(schema: Any) -> Any:
    """A custom resource's schema as the API server applies it with strict validation: unknown fields are errors."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: strict(value) for key, value in schema.items()}
    if schema.get("x-kubernetes-int-or-string"):
        made.pop("type", None)
        made["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    preserved = schema.get("x-kubernetes-preserve-unknown-fields")
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object" and not preserved:
        made.setdefault("additionalProperties", False)
    return made


@pytest.fixture(scope="module")
def validators(shared: Path) -> dict[str, jsonschema.Draft202012Validator]:
    """Validators of KubeRay's custom resources, pod templates included."""
    made = {}
    for kind, name in (("RayCluster", "rayclusters"), ("RayJob", "rayjobs")):
        with gzip.open(shared / "data" / "schemas" / f"ray.io_{name}.yaml.gz") as file:
            definition = yaml.load(file, Loader=yaml.CSafeLoader)  # large: the other loader takes 20 s
        (version,) = [one for one in definition["spec"]["versions"] if one["name"] == "v1"]
        schema = strict(version["schema"]["openAPIV3Schema"])
        schema["properties"]["metadata"] = {"type": "object", "required": ["name"]}
        made[kind] = jsonschema.Draft202012Validator(schema)
    return made


@pytest.mark.shared
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("kind", KINDS)
def test_manifests_fit_the_schemas(
    validators: dict[str, jsonschema.Draft202012Validator], variant: str, kind: str
) -> None:
    errors = [f"{error.json_path}: {error.message}" for error in validators[kind].iter_errors(manifests(variant)[kind])]
    assert errors == []


MISTAKES: dict[str, tuple[str, Callable[[dict], Any]]] = {
    "an unknown field": ("Additional properties", lambda spec: spec.update(autoScaling=True)),
    "a mode that is none": ("not one of", lambda spec: spec["authOptions"].update(mode="yes")),
    "text for a number": ("not of type", lambda spec: spec["workerGroupSpecs"][0].update(maxReplicas="4")),
    "no group name": ("required", lambda spec: spec["workerGroupSpecs"][1].pop("groupName")),
    "a number for a start parameter": (
        "not of type",
        lambda spec: spec["headGroupSpec"]["rayStartParams"].update({"num-cpus": 0}),
    ),
    "a misspelt pod field": (
        "Additional properties",
        lambda spec: spec["headGroupSpec"]["template"]["spec"].update(restartpolicy="Never"),
    ),
    "no container": ("required", lambda spec: spec["workerGroupSpecs"][0]["template"]["spec"].pop("containers")),
    "a quantity that is none": (
        "does not match",
        lambda spec: spec["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]["resources"]["limits"].update(
            memory="64 gigabytes"
        ),
    ),
    "a misspelt field of the autoscaler": (
        "Additional properties",
        lambda spec: spec["autoscalerOptions"]["env"][0].update(val="void"),
    ),
    "a secret in place of its name": (
        "Additional properties",
        lambda spec: spec["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]["envFrom"][0].update(value="x"),
    ),
}


@pytest.mark.shared
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_fails_the_schemas(
    validators: dict[str, jsonschema.Draft202012Validator], variant: str, kind: str, mistake: str
) -> None:
    message, make = MISTAKES[mistake]
    manifest = copy.deepcopy(json.loads(json.dumps(manifests(variant)[kind])))
    make(manifest["spec"].get("rayClusterSpec", manifest["spec"]))
    assert any(message in error.message for error in validators[kind].iter_errors(manifest))


@pytest.mark.parametrize("variant", VARIANTS)
def test_job_and_cluster_are_of_one_shape(variant: str) -> None:
    made = manifests(variant)
    assert cluster_of(made["RayCluster"]) == cluster_of(made["RayJob"])


def entry_options(manifest: Manifest) -> SegmentOptions:
    """The options that a RayJob's command line gives, read by the job's own parser."""
    python, script, *arguments = shlex.split(manifest["spec"]["entrypoint"])
    assert (python, script) == ("python", "/opt/siammask-batch/jobs/segment.py")
    seen: dict[str, Any] = {}

    def keep(options: SegmentOptions) -> int:
        seen["options"] = options
        return 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.driver.run.run", keep)
        result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return seen["options"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_job_fits_the_cluster(variant: str) -> None:
    """What the job asks Ray for, given what Ray's own autoscaler reads of the manifest, fills its nodes and no more."""
    options = entry_options(manifests(variant)["RayJob"])
    config = _derive_autoscaling_config_from_ray_cr(cluster_of(manifests(variant)["RayCluster"]))
    head = config["available_node_types"]["headgroup"]
    assert head["resources"]["CPU"] == 0
    groups = _groups_of(config)
    assert {group.labels["ray.io/node-group"]: group.gpus > 0 for group in groups} == {"gpu": True, "decode": False}
    placed = place(options, Cluster((Node(0.0), *groups)))
    gpus = sum(group.gpus * group.most for group in groups)
    assert (placed.device, placed.actors.minimum, placed.actors.maximum) == ("cuda", 1, gpus)
    assert (placed.actor_cpus, placed.decode_cpus) == (1.0, 1.0)
    claimed = placed.actors.maximum * (1 + placed.calls * placed.lanes)
    cpus = sum(group.cpus * group.most for group in groups)
    assert 0.6 * cpus < claimed < cpus or placed.lanes == 8  # eight lanes are enough for any GPU


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("group", [0, 1])
def test_memory_holds_the_frames_in_flight(variant: str, group: int) -> None:
    spec = manifests(variant)["RayCluster"]["spec"]["workerGroupSpecs"][group]
    pod = spec["template"]["spec"]
    limits = pod["containers"][0]["resources"]["limits"]
    store = int(spec["rayStartParams"]["object-store-memory"])
    volumes = {volume["name"]: volume["emptyDir"] for volume in pod["volumes"]}
    assert store < quantity(volumes["shared-memory"]["sizeLimit"]) < quantity(limits["memory"])
    gpus = int(limits.get("nvidia.com/gpu", 0))
    lanes = gpus * 16 if gpus else int(limits["cpu"])  # each decode task has a CPU
    assert lanes * 4 * (32 << 20) <= 0.6 * store
    options = entry_options(manifests(variant)["RayJob"])
    assert options.max_staged_bytes is not None
    assert options.max_staged_bytes < quantity(volumes["staging"]["sizeLimit"])
    together = sum(quantity(volume["sizeLimit"]) for volume in volumes.values() if "medium" not in volume)
    assert together <= quantity(limits["ephemeral-storage"])
    assert {"name": "TMPDIR", "value": "/staging"} in pod["containers"][0]["env"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_clusters_are_closed_and_secrets_are_names(variant: str) -> None:
    for manifest in manifests(variant).values():
        spec = cluster_of(manifest)["spec"]
        assert spec["authOptions"] == {"mode": "token"}
        assert spec["headGroupSpec"]["serviceType"] == "ClusterIP"
        text = json.dumps(manifest)
        assert not re.search(r"AWS_SECRET|SECRET_ACCESS_KEY|RAY_AUTH_TOKEN|password", text)
        pods = [group["template"]["spec"] for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"])]
        for pod in pods:
            assert pod["securityContext"]["runAsNonRoot"] and pod["restartPolicy"] == "Never"
            assert "hostNetwork" not in pod and not any("hostPort" in port for port in pod["containers"][0]["ports"])
            assert {"secretRef": {"name": "siammask-storage", "optional": True}} in pod["containers"][0]["envFrom"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_workers_come_and_go(variant: str) -> None:
    made = manifests(variant)
    spec = made["RayCluster"]["spec"]
    assert spec["enableInTreeAutoscaling"] and spec["rayVersion"].startswith("2.60.")
    assert [group["minReplicas"] for group in spec["workerGroupSpecs"]] == [0, 0]
    assert made["RayJob"]["spec"]["backoffLimit"] >= 1
    for group in spec["workerGroupSpecs"]:
        assert any(one["key"] == "cloud.google.com/gke-spot" for one in group["template"]["spec"]["tolerations"])


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed: kustomize itself was not asked")
@pytest.mark.parametrize("variant", VARIANTS)
def test_kustomize_renders_the_same(variant: str) -> None:
    done = subprocess.run(
        ["kubectl", "kustomize", str(KUBERAY / variant)], capture_output=True, text=True, timeout=60, check=True
    )
    theirs = {manifest["kind"]: manifest for manifest in yaml.safe_load_all(done.stdout)}
    assert theirs == manifests(variant)


def test_an_overlay_that_misses_its_target_fails(tmp_path: Path) -> None:
    shutil.copytree(KUBERAY, tmp_path / "kuberay")
    patch = tmp_path / "kuberay" / "overlays" / "small" / "raycluster.yaml"
    patch.write_text(patch.read_text().replace("workerGroupSpecs/0/maxReplicas", "workerGroupSpecs/0/replicasMax"))
    with pytest.raises(KeyError):
        render(tmp_path / "kuberay" / "overlays" / "small")


def quantity(text: str) -> float:
    """A Kubernetes quantity of bytes."""
    (number, unit), = re.findall(r"^([\d.]+)(Ki|Mi|Gi|Ti|)$", text)
    return float(number) * 1024.0 ** ["", "Ki", "Mi", "Gi", "Ti"].index(unit)


def test_every_manifest_is_rendered_by_a_kustomization() -> None:
    listed = {path.name for path in KUBERAY.rglob("*.yaml")}
    assert listed == {"kustomization.yaml", "raycluster.yaml", "rayjob.yaml"}
    assert all(load(path) for path in KUBERAY.rglob("*.yaml"))
