"""The groups and pods of the KubeRay manifests are sound in what their schemas do not say."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.infra.kustomize import Manifest
from tests.infra.pods import faults
from tests.infra.test_kuberay import KINDS, VARIANTS, manifests


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("kind", KINDS)
def test_groups_and_pods_are_sound(variant: str, kind: str) -> None:
    assert faults(manifests(variant)[kind]) == []


def pod_of(spec: Manifest, group: int | None = None) -> Manifest:
    """The pod of a cluster's worker group, or of its head."""
    return (spec["headGroupSpec"] if group is None else spec["workerGroupSpecs"][group])["template"]["spec"]


# Nothing here breaks the schema.
UNSOUND: dict[str, tuple[str, Callable[[Manifest], Any]]] = {
    "more at least than at most": (
        "gpu: replicas 1 are not between 5",
        lambda spec: spec["workerGroupSpecs"][0].update(minReplicas=5, maxReplicas=4),
    ),
    "more to begin with than at most": (
        "decode: replicas 90",
        lambda spec: spec["workerGroupSpecs"][1].update(replicas=90),
    ),
    "a GPU without a toleration": ("gpu: asks for a GPU and", lambda spec: pod_of(spec, 0)["tolerations"].pop(0)),
    "a GPU in the limit alone": (
        "gpu: the request and the limit",
        lambda spec: pod_of(spec, 0)["containers"][0]["resources"]["requests"].pop("nvidia.com/gpu"),
    ),
    "decoding on GPU nodes": (
        "decode: asks for no GPU and",
        lambda spec: pod_of(spec, 1)["tolerations"].append({"key": "nvidia.com/gpu", "operator": "Exists"}),
    ),
    "anything on any node": (
        "head: asks for no GPU and",
        lambda spec: pod_of(spec).update(tolerations=[{"operator": "Exists"}]),
    ),
    "a decode node that counts GPUs": (
        "decode: Ray counts",
        lambda spec: spec["workerGroupSpecs"][1]["rayStartParams"].pop("num-gpus"),
    ),
    "a head that sees GPUs": ("head: may use GPUs", lambda spec: pod_of(spec)["containers"][0].pop("env")),
    "an autoscaler that sees GPUs": ("autoscaler: may use", lambda spec: spec["autoscalerOptions"].pop("env")),
    "a decode node that sees GPUs": ("decode: may use", lambda spec: pod_of(spec, 1)["containers"][0]["env"].pop()),
    "root": ("decode: may run as root", lambda spec: pod_of(spec, 1)["securityContext"].update(runAsUser=0)),
    "no seccomp": ("head: has no seccomp", lambda spec: pod_of(spec)["securityContext"].pop("seccompProfile")),
    "privileges": ("gpu: may gain", lambda spec: pod_of(spec, 0)["containers"][0].pop("securityContext")),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mistake", UNSOUND)
def test_an_unsound_group_is_found(kind: str, mistake: str) -> None:
    message, make = UNSOUND[mistake]
    manifest = json.loads(json.dumps(manifests("base")[kind]))
    make(manifest["spec"].get("rayClusterSpec", manifest["spec"]))
    assert any(fault.startswith(message) for fault in faults(manifest)), faults(manifest)


@pytest.mark.parametrize(
    ("message", "make"),
    [
        ("KubeRay's own is refused", lambda spec: spec.pop("submitterPodTemplate")),
        ("may run as root", lambda spec: spec["submitterPodTemplate"]["spec"].pop("securityContext")),
        (
            "pulls the cluster's image",
            lambda spec: spec["submitterPodTemplate"]["spec"]["containers"][0].update(
                image=pod_of(spec["rayClusterSpec"])["containers"][0]["image"]
            ),
        ),
    ],
)
def test_an_unsound_submitter_is_found(message: str, make: Callable[[Manifest], Any]) -> None:
    manifest = json.loads(json.dumps(manifests("base")["RayJob"]))
    make(manifest["spec"])
    assert any(fault.startswith(f"submitter: {message}") for fault in faults(manifest)), faults(manifest)
