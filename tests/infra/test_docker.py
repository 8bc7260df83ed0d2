"""The images' recipe: linted always, its steps run without an engine, built where there is one."""

from __future__ import annotations

import importlib
import json
import os
import re
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
    subprocess.run([*script, "gcp"], cwd=ROOT, env=environment, check=True, timeout=60)
    said = asked.read_text().split()
    assert said[said.index("-c") + 1] == str(tmp_path / "venv" / "constraints.txt")
    assert "torch==2.13.0+cpu" in said and said[said.index("--extra-index-url") + 1] == "URL"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["gcp"]]
    assert (tmp_path / "venv" / "requirements.txt").read_text().split("\n")[:-1] == wanted
    assert "torch==" not in (tmp_path / "venv" / "constraints.txt").read_text()


def test_a_login_shell_finds_the_environment(tmp_path: Path) -> None:
    """`ray up` runs everything in login shells, in which /etc/profile sets PATH anew and then reads profile.d."""
    text = DOCKERFILE.read_text()
    (command, script) = re.findall(r"&& (echo .+) > (/etc/profile.d/[\w-]+\.sh)$", text, re.MULTILINE)[0]
    profile = tmp_path / Path(script).name
    subprocess.run(["sh", "-c", f"{command} > {profile}"], check=True, timeout=60)
    shell = subprocess.run(
        ["sh", "-c", f"PATH=/usr/bin:/bin; . {profile}; echo $PATH"], capture_output=True, text=True, timeout=60
    )
    folder = re.findall(r"^ENV PATH=([^:]+):", text, re.MULTILINE)[0]
    assert shell.stdout == f"{folder}:/usr/bin:/bin\n"


def steps() -> list[str]:
    """The RUN instructions, each on one line."""
    return re.findall(r"^RUN .+$", DOCKERFILE.read_text().replace("\\\n", " "), re.MULTILINE)


def test_the_image_has_what_the_launchers_head_needs() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for chosen in re.findall(r'^ARG EXTRAS="(.*)"$', DOCKERFILE.read_text(), re.MULTILINE):
        assert {"aws", "gcp"} <= set(chosen.split(",")) <= set(extras)
    installs = [step for step in steps() if "install.sh" in step]
    assert len(installs) == 2 and all(step.endswith('"${EXTRAS}"') for step in installs)
    (packages,) = [step for step in steps() if "apt-get install" in step]
    assert {"openssh-client", "rsync"} <= set(packages.split())


@pytest.mark.parametrize("cloud", ["aws", "gcp"])
def test_the_extras_are_what_rays_provider_imports(cloud: str) -> None:
    importlib.import_module(f"ray.autoscaler._private.{cloud}.config")
    importlib.import_module(f"ray.autoscaler._private.{cloud}.node_provider")


def test_what_downloads_takes_a_mirror_and_a_ca() -> None:
    for step in steps():
        secrets = set(re.findall(r"--mount=type=secret,id=([\w.]+)", step))
        assert "ca.crt" in secrets and secrets & {"pip.conf", "debian.sources"}
