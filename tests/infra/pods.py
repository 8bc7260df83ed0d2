"""What the schemas of KubeRay cannot say about a manifest, and what goes wrong on a cluster all the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Spec = dict[str, Any]
GPU = "nvidia.com/gpu"


def faults(manifest: Spec) -> list[str]:
    """What is wrong with the groups and the pods of a RayCluster or a RayJob."""
    cluster = manifest["spec"].get("rayClusterSpec", manifest["spec"])
    found = [
        f"{group['groupName']}: replicas {group['replicas']} are not between {group['minReplicas']} and "
        f"{group['maxReplicas']}"
        for group in cluster["workerGroupSpecs"]
        if not 0 <= group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    ]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        name, pod = group.get("groupName", "head"), group["template"]["spec"]
        found += [f"{name}: {fault}" for fault in (*_gpu_faults(group, pod), *_open(pod))]
    options = cluster["autoscalerOptions"]
    found += [f"autoscaler: {fault}" for fault in _open_container(options)]
    if not _sees_no_gpu(options):
        found.append("autoscaler: may use GPUs that it does not own")
    if manifest["kind"] == "RayJob":
        found += _submitter_faults(manifest["spec"], cluster)
    return found


def _gpu_faults(group: Spec, pod: Spec) -> Iterator[str]:
    """A GPU that no node may give, or GPUs that nobody gave."""
    (container,) = pod["containers"]
    resources = container["resources"]
    asked = [int(resources[kind].get(GPU, 0)) for kind in ("requests", "limits")]
    tolerated = any(rule.get("key") in (GPU, None) for rule in pod.get("tolerations", ()))
    if asked[0] != asked[1]:
        yield "the request and the limit of GPUs differ"
    if any(asked):
        if not tolerated:
            yield "asks for a GPU and does not tolerate GPU nodes"
        return
    if tolerated:
        yield "asks for no GPU and tolerates GPU nodes"
    if group["rayStartParams"].get("num-gpus") != "0":
        yield "Ray counts the GPUs that it sees"
    if not _sees_no_gpu(container):
        yield "may use GPUs that it does not own"


def _sees_no_gpu(container: Spec) -> bool:
    return {"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"} in (container.get("env") or ())


def _open(pod: Spec) -> Iterator[str]:
    """What Pod Security's level "restricted" refuses."""
    context = pod.get("securityContext", {})
    if context.get("runAsNonRoot") is not True or context.get("runAsUser") == 0:
        yield "may run as root"
    if context.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
        yield "has no seccomp profile"
    if any(pod.get(space) for space in ("hostNetwork", "hostPID", "hostIPC")):
        yield "is in a name space of its machine"
    if any("hostPath" in volume for volume in pod.get("volumes", ())):
        yield "mounts a folder of its machine"
    for container in (*pod["containers"], *pod.get("initContainers", ())):
        yield from _open_container(container)


def _open_container(container: Spec) -> Iterator[str]:
    context = container.get("securityContext", {})
    if context.get("allowPrivilegeEscalation") is not False or context.get("privileged"):
        yield "may gain privileges"
    if context.get("capabilities", {}).get("drop") != ["ALL"] or context["capabilities"].get("add"):
        yield "keeps capabilities"


def _submitter_faults(spec: Spec, cluster: Spec) -> Iterator[str]:
    template = spec.get("submitterPodTemplate")
    if template is None:
        yield "submitter: KubeRay's own is refused where Pod Security is restricted"
        return
    pod = template["spec"]
    yield from (f"submitter: {fault}" for fault in _open(pod))
    (container,) = pod["containers"]
    if container["image"] == cluster["headGroupSpec"]["template"]["spec"]["containers"][0]["image"]:
        yield "submitter: pulls the cluster's image only to submit"
    if pod["restartPolicy"] != "Never":
        yield "submitter: is started again by Kubernetes, beside backoffLimit"
    if GPU in str(container.get("resources")):
        yield "submitter: asks for a GPU"
