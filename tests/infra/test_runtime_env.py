"""The runtime environment for stock Ray images: what Ray takes, at our pins, without a secret."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from ray.runtime_env import RuntimeEnv

from infra import runtime_env


def shipped() -> dict[str, Any]:
    return yaml.safe_load(runtime_env.FILE.read_text())


def test_the_file_is_what_the_project_needs() -> None:
    assert shipped() == runtime_env.document(), "run: python -m infra.runtime_env"


def test_ray_takes_it() -> None:
    made = RuntimeEnv(**shipped())
    assert set(made["pip"]["packages"]) == set(shipped()["pip"]["packages"])
    with pytest.raises(ValueError, match="fields"):
        RuntimeEnv(pip={"package": ["av"]})


def test_it_has_what_a_stock_image_lacks_and_not_ray() -> None:
    names = {line.split("==")[0].lower() for line in shipped()["pip"]["packages"]}
    assert {"av", "decord2", "torch", "opencv-python-headless", "pycocotools", "boto3", "botocore"} <= names
    assert not {"ray", "pytest", "ruff"} & names, "another Ray than the cluster's cannot join it"


def test_no_secret_is_in_it() -> None:
    assert not [name for name in shipped()["env_vars"] if re.search("KEY|SECRET|TOKEN|PASS|AWS", name)]
