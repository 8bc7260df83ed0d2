"""The end of an interrupted run: what was half-done is removed, and the lease is free, within the time there is."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.driver import ending
from pipeline.output import lease
from pipeline.output.index import OutputIndex

ORPHAN = "masks/part-a806b66b4171e9e0-58229a257e40.parquet"
PLAN = "_runs/run-1/plan/0.parquet"


@pytest.fixture
def output(tmp_path: Path) -> Path:
    for name in (ORPHAN, PLAN):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(b"half-done")
    return tmp_path


def abandoned(output: Path) -> list[str]:
    held, noted = lease.acquire(str(output), "run-1", 0), []
    prepared = SimpleNamespace(output=str(output), owns_ray=False)
    ending.Ending(prepared, OutputIndex(str(output))).abandon(held, lambda: noted.append("noted"))
    holder = lease.Holder.from_json(Path(lease.lease_uri(str(output))).read_bytes())
    assert holder.released
    return noted


def test_what_is_half_done_is_removed_and_the_lease_free(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "RELEASE_WITHIN_S", 30.0)
    assert abandoned(output) == ["noted"]
    assert not (output / ORPHAN).exists() and not (output / PLAN).exists()


def test_the_lease_is_free_also_where_nothing_can_be_removed_in_time(
    output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ending, "RELEASE_WITHIN_S", 0.0)
    assert abandoned(output) == ["noted"]
    assert (output / PLAN).exists()
