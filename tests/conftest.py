"""Fixtures shared by all tests: the data beside the checkout, a local Ray, and a real S3 server.

Nothing here imports ray, torch or boto3 when pytest loads it: a run of the pure unit tests stays quick, and
the tests of the import rules see a clean interpreter.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.local import seaweed
from pipeline.cluster.connect import start_ray

ROOT = Path(__file__).resolve().parent.parent
pytest_plugins = ["tests.side_by_side"]

# Whatever Ray a test or its subprocess starts is its own: never another one on this machine, never a real cluster.
os.environ["RAY_ADDRESS"] = "local"
# Ray 2.60 turns token authentication on by itself; tests talk to loopback only.
os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("OMP_NUM_THREADS", "1")


@dataclass(frozen=True, slots=True)
class S3Store:
    """A running S3 server with an empty bucket; the AWS_* settings of this process already point at it."""

    endpoint: str
    access_key: str
    secret_key: str
    bucket: str

    def uri(self, key: str = "") -> str:
        """`s3://bucket/key`."""
        return f"s3://{self.bucket}/{key}".rstrip("/")


def shared_folder() -> Path:
    """The folder with reference data: SIAMMASK_SHARED, or `shared` beside the checkout."""
    return Path(os.environ.get("SIAMMASK_SHARED", ROOT.parent / "shared")).resolve()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips, with the reason, what this machine cannot run."""
    if any(item.get_closest_marker("gpu") for item in items) and not _has_cuda():
        no_gpu = pytest.mark.skip(reason="needs a CUDA device")
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(no_gpu)
    if not shared_folder().is_dir():
        no_data = pytest.mark.skip(reason=f"needs the reference data at {shared_folder()} (SIAMMASK_SHARED)")
        for item in items:
            if item.get_closest_marker("shared"):
                item.add_marker(no_data)


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


@pytest.fixture
def say(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Takes figures to be shown at the end of the tests, whether or not the test passes and in whatever process."""
    return lambda text: request.node.user_properties.append(("said", text))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what tests have said."""
    reports = [report for found in terminalreporter.stats.values() for report in found]
    said = {
        report.nodeid: [text for name, text in report.user_properties if name == "said"]
        for report in reports
        if getattr(report, "when", None) == "call"
    }
    if any(said.values()):
        terminalreporter.section("figures")
    for test, texts in sorted(said.items()):
        if texts:
            terminalreporter.write_line(test, bold=True)
            terminalreporter.write_line("\n".join(texts))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with reference data (see `shared_folder`); skips where it is not there."""
    folder = shared_folder()
    if not folder.is_dir():
        pytest.skip(f"needs the reference data at {folder} (SIAMMASK_SHARED)")
    return folder


@pytest.fixture(scope="session")
def s3_settings() -> Iterator[seaweed.S3Settings]:
    """Port, identity and bucket of the test server, with this process's AWS_* settings pointing at it.

    Apart from `s3_store` so that `ray_local` can have the settings in its environment, which workers inherit
    when Ray starts, without starting the server for tests that do not need it.
    """
    # Each process of `pytest -n` has a thousand ports of its own: the server may start long after they are chosen.
    first = 12000 + 1000 * (int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 9)
    settings = seaweed.S3Settings(port=seaweed.free_port_block(first, first + 1000))
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in settings.environment().items():
            patch.setenv(name, value)
        yield settings


@pytest.fixture(scope="session")
def s3_store(s3_settings: seaweed.S3Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Store]:
    """SeaweedFS on loopback, credentials required, data in a temporary folder; ended with the session."""
    with seaweed.start(s3_settings, tmp_path_factory.mktemp("s3")):
        yield S3Store(
            endpoint=s3_settings.endpoint,
            access_key=s3_settings.access_key,
            secret_key=s3_settings.secret_key,
            bucket=s3_settings.bucket,
        )


@pytest.fixture(scope="session")
def ray_local(s3_settings: seaweed.S3Settings) -> Iterator[None]:
    """A Ray of this test session's own: two CPUs, no dashboard, workers that know the S3 settings."""
    import ray

    start_ray(
        num_cpus=2,
        num_gpus=0,
        _node_ip_address="127.0.0.1",
        object_store_memory=1024**3,
        configure_logging=False,
    )
    yield
    ray.shutdown()
