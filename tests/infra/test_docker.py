"""The images' recipe: linted always, its steps run without an engine, built where there is one."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conftest import ROOT

DOCKER = ROOT / "infra" / "docker"
DOCKERFILE = DOCKER / "Dockerfile"


def hadolint(path: Path) -> list[str]:
    """The codes of what the linter finds."""
    linter = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([str(linter), "--format", "json", str(path)], capture_output=True, text=True, timeout=60)
    return [finding["code"] for finding in json.loads(done.stdout)]


def test_the_linter_finds_nothing() -> None:
    assert hadolint(DOCKERFILE) == []


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("python:3.11.9-slim-bookworm", "python:latest", "DL3007"),
        ("USER 1000", "USER root", "DL3002"),
        ("--no-install-recommends ", "", "DL3015"),
        ("WORKDIR /src", "WORKDIR src", "DL3000"),
        ("COPY jobs jobs", "COPYY jobs jobs", "DL1000"),
        ("COPY --from=cpu-environment", "COPY --from=cpu", "DL3023"),
    ],
)
def test_a_mistake_is_found(tmp_path: Path, old: str, new: str, code: str) -> None:
    text = DOCKERFILE.read_text().replace(old, new)
    text = text.replace("${PYTHON_IMAGE}", re.findall(r"PYTHON_IMAGE=(\S+)", text)[0])
    assert text != DOCKERFILE.read_text()
    (tmp_path / "Dockerfile").write_text(text)
    assert code in hadolint(tmp_path / "Dockerfile")


def test_stages_are_pinned_small_and_without_root() -> None:
    text = DOCKERFILE.read_text()
    (image,) = re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", text, re.MULTILINE)
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+(@sha256:[0-9a-f]{64})?", image)
    stages = dict(re.findall(r"^FROM (\S+) AS (\S+)$", text, re.MULTILINE))
    assert set(stages) <= {"${PYTHON_IMAGE}", "sources", "base"}
    final = text[text.index("AS base") :]
    assert not re.search(r"\bpip\b", final), "what builds stays in the stages that build"
    assert re.search(r"^USER 1000$", final, re.MULTILINE)
    assert "RAY_AUTH_MODE=token" in final


def test_copied_paths_exist_and_are_let_through() -> None:
    allowed = set(re.findall(r"^!(\S+)$", (DOCKER / "Dockerfile.dockerignore").read_text(), re.MULTILINE))
    for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE.read_text(), re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists() and source in allowed
    assert all((ROOT / path).exists() for path in allowed)


def test_the_image_holds_what_the_job_imports() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"benchmarks", "tests"}
    copied = set(re.findall(r"^COPY (\w+) \1$", DOCKERFILE.read_text(), re.MULTILINE))
    assert copied == packages


def test_install_asks_pip_for_the_project_at_its_pins(tmp_path: Path) -> None:
    """The script's own steps, with a pip that writes down what it is asked for."""
    fake = tmp_path / "bin"
    fake.mkdir()
    asked = tmp_path / "asked"
    (fake / "python3").write_text(
        f'#!/bin/sh\nif [ "$1 $2" = "-m venv" ]; then mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; exit; fi\n'
        f'if [ "$1 $2" = "-m pip" ]; then echo "$@" > {asked}; exit; fi\nexec {sys.executable} "$@"\n'
    )
    (fake / "python3").chmod(0o755)
    environment = {**os.environ, "PATH": f"{fake}{os.pathsep}{os.environ['PATH']}"}
    script = ["sh", str(DOCKER / "install.sh"), str(tmp_path / "venv"), "torch==2.13.0+cpu --extra-index-url URL"]
    subprocess.run(script, cwd=ROOT, env=environment, check=True, timeout=60)
    said = asked.read_text().split()
    assert said[said.index("-c") + 1] == str(tmp_path / "venv" / "constraints.txt")
    assert "torch==2.13.0+cpu" in said and said[said.index("--extra-index-url") + 1] == "URL"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (tmp_path / "venv" / "requirements.txt").read_text().split("\n")[:-1] == project["dependencies"]
    assert "torch==" not in (tmp_path / "venv" / "constraints.txt").read_text()


def _engine() -> str | None:
    for name in ("docker", "podman"):
        if shutil.which(name) and not subprocess.run([name, "info"], capture_output=True, timeout=60).returncode:
            return name
    return None


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.skipif(_engine() is None, reason="no container engine runs here: the images are linted, not built")
def test_the_cpu_image_builds_and_answers() -> None:
    engine = str(_engine())
    build = [engine, "build", "-f", str(DOCKERFILE), "--target", "cpu", "-t", "siammask-batch:test-cpu", str(ROOT)]
    subprocess.run(build, check=True, timeout=2700)
    run = [engine, "run", "--rm", "--network=none", "siammask-batch:test-cpu"]
    answer = subprocess.run(run, capture_output=True, text=True, timeout=300)
    assert "--manifest" in answer.stdout
