"""Write infra/runtime_env.yaml: what a node with a stock Ray image lacks, at the versions of constraints.txt.

    python -m infra.runtime_env
"""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "infra" / "runtime_env.yaml"
HEAD = """\
# For nodes with a stock Ray 2.60 image, where our own image is not used (docs/cluster.md):
#
#   ray job submit --working-dir . --runtime-env infra/runtime_env.yaml -- python jobs/segment.py …
#
# Written by `python -m infra.runtime_env`. Never put keys or tokens here: Ray shows this to everyone who can list jobs.
"""
# Ray's own file of JSON lines a worker, in which a message of a clip has its id as a field.
NODE = {
    "python_version": "3.11",
    "python_full_version": "3.11.9",
    "sys_platform": "linux",
    "platform_system": "Linux",
    "platform_machine": "x86_64",
}
ENV_VARS = {"PYTHONUNBUFFERED": "1", "RAY_LOGGING_CONFIG_ENCODING": "JSON"}


def pinned() -> list[str]:
    """What the project needs, directly or not, apart from Ray and what comes with it, as `name==version`, sorted.

    Raises:
        KeyError: constraints.txt does not pin one of them.
    """
    lines = (ROOT / "constraints.txt").read_text().split()
    versions = {_canonical(line.split("==")[0]): line for line in lines if "==" in line}
    needed: set[tuple[str, str]] = set()
    waiting = list(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"])
    while waiting:
        requirement = Requirement(waiting.pop())
        name = _canonical(requirement.name)
        if name == "ray":
            continue
        for extra in ("", *requirement.extras):
            if (name, extra) in needed:
                continue
            needed.add((name, extra))
            for text in metadata.requires(requirement.name) or ():
                child = Requirement(text)
                wanted = child.marker is None or child.marker.evaluate({**NODE, "extra": extra})
                # NVIDIA's libraries come with a build of torch, which names their versions itself.
                if wanted and (name != "torch" or _canonical(child.name) in versions):
                    waiting.append(text)
    return sorted({versions[name] for name, _ in needed}, key=str.lower)


def document() -> dict[str, Any]:
    """The runtime environment."""
    return {"pip": {"packages": pinned(), "pip_check": False}, "env_vars": ENV_VARS}


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    FILE.write_text(HEAD + yaml.safe_dump(document(), sort_keys=False))
