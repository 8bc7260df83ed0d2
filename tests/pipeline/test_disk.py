"""A full disk is one sentence, before any work and during it."""

from __future__ import annotations

import errno
import io
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline import disk
from pipeline.cluster.connect import start_ray
from pipeline.driver import output_disk
from pipeline.driver.output_disk import NoSpaceLeft, OutputDisk
from pipeline.driver.watch import Watch
from pipeline.errors import UsageError
from pipeline.job import FAILED, run_job
from pipeline.plan.options import SegmentOptions
from pipeline.plan.prepare import prepare
from pipeline.progress.control import RoomState
from pipeline.progress.counts import Counts
from pipeline.progress.display import ProgressDisplay

Fill = Callable[..., None]


@pytest.fixture
def fill(monkeypatch: pytest.MonkeyPatch) -> Fill:
    """Have the disks of these folders, and of what is in them, be as free as said; others have a terabyte."""
    free: dict[str, int] = {}

    def usage(path: str) -> SimpleNamespace:
        of = [amount for folder, amount in free.items() if os.path.commonpath([folder, path]) == folder]
        return SimpleNamespace(total=1 << 41, free=min(of, default=1 << 40))

    monkeypatch.setattr(disk, "shutil", SimpleNamespace(disk_usage=usage))

    def set_free(folder: Path | str, amount: int) -> None:
        free[str(folder)] = amount

    return set_free


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], None]]:
    """What each start of Ray does in place of starting, one after the other."""
    import ray

    acts: list[Callable[[], None]] = []
    monkeypatch.setattr(ray, "init", lambda **_: acts.pop(0)())
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    return acts


def test_free_space_is_that_of_the_nearest_folder_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert disk.free_bytes(str(tmp_path / "not" / "there")) == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.05)
    monkeypatch.setattr(disk, "shutil", SimpleNamespace(disk_usage=lambda _: SimpleNamespace(total=0, free=0)))
    assert disk.free_bytes(str(tmp_path)) == float("inf")


def test_an_output_without_space_is_refused_before_any_work(tmp_path: Path, fill: Fill) -> None:
    output = tmp_path / "out"
    fill(tmp_path, 3_000_000)
    with pytest.raises(UsageError, match=f"--output has no space in {output}: 3 MB are free, and 67 MB are needed"):
        prepare(SegmentOptions(manifest=str(tmp_path / "m.jsonl"), output=str(output)))
    assert not output.exists()


@pytest.mark.parametrize("variable", ["RAY_TMPDIR", "TMPDIR"])
def test_a_local_ray_without_space_is_not_started(
    tmp_path: Path, fill: Fill, starts: list, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv(variable, str(tmp_path))
    fill(tmp_path, 0)
    with pytest.raises(UsageError, match=f"a local Ray has no space in {tmp_path}/ray: 0 MB are free.*set RAY_TMPDIR"):
        start_ray()


def test_a_full_folder_for_temporary_files_is_named(
    tmp_path: Path, fill: Fill, starts: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    fill(tmp_path, 0)
    with pytest.raises(UsageError, match="the folder for temporary files has no space.*set TMPDIR"):
        start_ray()


def test_a_disk_that_fills_up_while_ray_starts_is_not_tried_again(
    tmp_path: Path, fill: Fill, starts: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))

    def slow() -> None:
        fill(tmp_path, 0)
        raise RuntimeError("The current node timed out during startup")

    def full() -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    starts += [full, slow, slow]
    with pytest.raises(UsageError, match="a local Ray has no space for its files .*quota"):
        start_ray()
    with pytest.raises(UsageError, match="a local Ray has no space"):
        start_ray()
    assert starts == [slow]


def test_a_run_ends_once_its_outputs_disk_stays_full(
    tmp_path: Path, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(output_disk, "time", SimpleNamespace(monotonic=lambda: now))
    control = SimpleNamespace(state=RoomState("life", Counts(), Counts(), 0.0), counts=lambda wait_s: Counts())
    with ProgressDisplay(100, io.StringIO()) as display:
        watch = Watch(control, display, 0.5, lambda: False, disk=OutputDisk(str(tmp_path / "out")))  # type: ignore[arg-type]
        said = []
        for now, free in ((0, 1 << 30), (1, 0), (9, 0), (10, 1 << 30), (11, 0), (20, 0), (21, 0)):  # noqa: B007
            fill(tmp_path, free)
            said.append(watch.look())
    assert said[:-1] == [None] * 6 and isinstance(said[-1], NoSpaceLeft)
    assert f"--output {tmp_path}/out: its disk is full" in str(said[-1])
    fill("/", 0)
    assert not OutputDisk("s3://bucket/out").is_full


def test_a_job_that_meets_a_full_disk_says_so_in_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> int:
        raise OSError(errno.ENOSPC, "No space left on device", "/tmp/x")

    assert run_job(work, interrupted="") == FAILED
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("error: the disk is full: [Errno 28] No space left on device: '/tmp/x'")
