"""Fixtures of the tests of output folders."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.manifest import files
from pipeline.output import lease
from tests.conftest import S3Store


@pytest.fixture(params=["local", "s3"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty output folder of each kind."""
    if request.param == "local":
        return str(tmp_path / "run")
    store: S3Store = request.getfixturevalue("s3_store")
    return store.uri(f"parts/{tmp_path.name}")


@pytest.fixture
def held(output: str) -> Iterator[lease.Lease]:
    """The lease of the output, held by run-1."""
    with lease.acquire(output, "run-1", 0) as one:
        yield one


@pytest.fixture(params=["local", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty folder of each kind."""
    if request.param == "local":
        return str(tmp_path / "root")
    store: S3Store = request.getfixturevalue("s3_store")
    return store.uri(f"storage/{tmp_path.name}")


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of a few rows are cut into many pieces, as large ones are."""
    monkeypatch.setattr(files, "PIECE_BYTES", 97)
