"""Render the kustomizations of this repository: resources, and JSON patches by kind and name.

That is all they use, and anything else is an error here. Where `kubectl` is installed, a test holds this against it.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]


def load(path: Path) -> list[Manifest]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def render(folder: Path) -> list[Manifest]:
    """The manifests of a kustomization, its own patches applied."""
    (spec,) = load(folder / "kustomization.yaml")
    known = {"apiVersion", "kind", "resources", "patches"}
    if set(spec) - known or spec["kind"] != "Kustomization":
        raise ValueError(f"{folder}: cannot render {sorted(set(spec) - known) or spec['kind']}")
    manifests: list[Manifest] = []
    for name in spec["resources"]:
        path = folder / name
        manifests += render(path) if path.is_dir() else load(path)
    manifests = copy.deepcopy(manifests)  # YAML anchors share what a patch must change once
    for patch in spec.get("patches", []):
        operations = yaml.safe_load((folder / patch["path"]).read_text())
        target = patch["target"]
        found = [one for one in manifests if (one["kind"], one["metadata"]["name"]) == (target["kind"], target["name"])]
        if not found:
            raise ValueError(f"{folder}: no {target} to patch")
        for manifest in found:
            for operation in operations:
                _replace(manifest, operation)
    return manifests


def _replace(manifest: Manifest, operation: dict[str, Any]) -> None:
    if operation["op"] != "replace":
        raise ValueError(f"cannot {operation['op']}")
    keys = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
    at: Any = manifest
    for key in keys[:-1]:
        at = at[int(key)] if isinstance(at, list) else at[key]
    last: Any = int(keys[-1]) if isinstance(at, list) else keys[-1]
    if isinstance(at, dict) and last not in at:
        raise KeyError(f"nothing to replace at {operation['path']}")
    at[last] = operation["value"]
