"""The CPU image, built, and used as the clusters use it: SIAMMASK_IMAGE_TEST=1 asks for this.

It needs docker or podman, or root with buildah and debootstrap, and the network for the build; nothing that is run in
the image has one. See `tests.infra.image` for what may be set.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import pytest
import yaml

from tests.conftest import ROOT
from tests.infra.image import Image, built, engine

ASKED = os.environ.get("SIAMMASK_IMAGE_TEST") == "1"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(5400),
    pytest.mark.skipif(not ASKED, reason="it takes 11 minutes: SIAMMASK_IMAGE_TEST=1 asks for it"),
    pytest.mark.skipif(ASKED and engine() is None, reason="no docker, podman, or buildah with debootstrap is here"),
]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    with built(str(engine()), tmp_path_factory.mktemp("image")) as image:
        yield image


def test_it_says_what_the_job_takes(image: Image) -> None:
    answer = image.run("python", "jobs/segment.py", "--help")
    assert answer.returncode == 0 and "--manifest" in answer.stdout, answer.stderr


def login(script: str) -> tuple[str, ...]:
    """A command as `ray up` runs it: /etc/profile sets PATH anew."""
    return ("bash", "--login", "-c", "-i", script)


def test_a_login_shell_has_ray_and_its_python(image: Image) -> None:
    version = "python -c 'import ray, torch; print(ray.__version__)'"
    answer = image.run(*login(f"command -v ray && {version} && command -v ssh rsync"))
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.split() == ["/opt/venv/bin/ray", "2.60.0", "/usr/bin/ssh", "/usr/bin/rsync"]


@pytest.mark.parametrize("cloud", ["aws", "gcp"])
def test_rays_autoscaler_can_ask_the_cloud(image: Image, cloud: str) -> None:
    provider = f"ray.autoscaler._private.{cloud}"
    answer = image.run("python", "-c", f"import {provider}.config, {provider}.node_provider")
    assert answer.returncode == 0, answer.stderr


def test_no_gpu_is_asked_for(image: Image) -> None:
    assert image.run("printenv", "NVIDIA_VISIBLE_DEVICES").stdout.strip() in ("", "void")


def test_the_demo_runs_as_nobody_on_a_read_only_root(image: Image) -> None:
    assert image.run("touch", "/opt/siammask-batch/x").returncode and image.run("id", "-u").stdout == "1000\n"
    answer = image.run("python", "jobs/demo.py", "--folder", "/tmp/demo", timeout=1200)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert float(re.findall(r"drawn truth: ([\d.]+)", answer.stdout)[0]) > 0.85
    assert "atplotlib" not in answer.stderr  # its warnings about its folder


def test_without_a_temporary_folder_it_says_so(image: Image) -> None:
    command = ("python", "jobs/segment.py", "--manifest", "m.jsonl", "--output", "/dev/shm/out")
    answer = image.run(*command, temporary=False)
    assert (answer.returncode, answer.stderr.count("\n")) == (2, 1) and "TMPDIR" in answer.stderr, answer.stderr


HEAD = """
set -e
export RAY_ADDRESS=
{start}
python -c 'from pathlib import Path; from pipeline.demo.corpus import write_corpus; write_corpus(Path("/tmp/corpus"))'
submit="ray job submit --address http://127.0.0.1:8265"
job="python /opt/siammask-batch/jobs/segment.py --manifest /tmp/corpus/manifest.jsonl --output /tmp/out --limit 1"
! RAY_AUTH_MODE=disabled RAY_AUTH_TOKEN= $submit -- true
$submit --runtime-env-json '{{"env_vars": {{"RAY_LOGGING_CONFIG_ENCODING": "JSON"}}}}' -- $job
ls /tmp/out/clips
"""


def test_a_head_with_a_token_takes_a_job(image: Image) -> None:
    """The launcher's own command for the head, in a login shell; the autoscaler, which would ask a cloud, left out."""
    launcher = yaml.safe_load((ROOT / "infra" / "aws" / "cluster.yaml").read_text())
    start = re.sub(r" --autoscaling-config=\S+", "", launcher["head_start_ray_commands"][1])
    start = re.sub(r"--object-store-memory=\d+", "--object-store-memory=200000000", start)
    start = start.replace("--num-cpus=0", "--num-cpus=2")  # it is the only node
    answer = image.run(
        *login(HEAD.format(start=start)), environment={"RAY_AUTH_TOKEN": "0123456789" * 4}, timeout=1200
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "1 clips: 1 ok" in answer.stdout and answer.stdout.strip().endswith(".parquet")
