"""The caches of libraries where a read-only root, or nobody's home, leaves them no place of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numba.core.caching as caching
import pytest

from model import caches
from model.caches import cache_folder, compiled, place_matplotlib
from tests.conftest import ROOT


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def read_only(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Neither the checkout nor the home can be written; the temporary folder can, which is returned."""
    for locator in (caching.InTreeCacheLocator, caching.UserWideCacheLocator):
        monkeypatch.setattr(locator, "ensure_cache_path", _refuse)
    monkeypatch.setattr(caching.config, "CACHE_DIR", "")
    monkeypatch.setattr(caches.os, "access", lambda path, mode: Path(path).is_relative_to(temporary))
    return temporary


def _refuse(locator: object) -> None:
    raise OSError(30, "Read-only file system")


def test_a_kernel_is_cached_in_the_temporary_folder(read_only: Path) -> None:
    @compiled("int64(int64)")
    def twice(x):  # type: ignore[no-untyped-def]
        return 2 * x

    assert twice(4) == 8
    assert list((read_only / f"siammask-kernels-{os.getuid()}").rglob("*.nbi"))


def test_a_kernel_without_any_place_is_compiled_all_the_same(read_only: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(read_only / "none"))

    @compiled()
    def twice(x):  # type: ignore[no-untyped-def]
        return 2 * x

    assert twice(4) == 8


def test_the_kernels_of_masks_load_on_a_read_only_root() -> None:
    script = (
        "import numba.core.caching as caching\n"
        "def refuse(locator): raise OSError(30, 'Read-only file system')\n"
        "caching.InTreeCacheLocator.ensure_cache_path = caching.UserWideCacheLocator.ensure_cache_path = refuse\n"
        "import model.masks.kernels\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, timeout=120)


def test_nothing_else_asks_numba_or_matplotlib_for_a_cache() -> None:
    for file in (path for folder in ("model", "pipeline", "jobs") for path in (ROOT / folder).rglob("*.py")):
        text = file.read_text()
        assert file.name == "caches.py" or not re.search(r"^ *(import|from) numba\b", text, re.MULTILINE), file
        for before in re.findall(r"((?:.*\n){4}) +(?:import|from) matplotlib\b", text):
            assert "place_matplotlib()" in before or "TYPE_CHECKING" in before, file


def test_a_folder_that_others_may_write_is_not_used(temporary: Path) -> None:
    folder = cache_folder("kernels")
    assert folder is not None and folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o777)
    assert cache_folder("kernels") is None


def test_a_link_is_not_used(temporary: Path) -> None:
    (temporary / "elsewhere").mkdir()
    (temporary / f"siammask-kernels-{os.getuid()}").symlink_to(temporary / "elsewhere")
    assert cache_folder("kernels") is None


def test_matplotlib_gets_a_folder_where_the_home_has_none(read_only: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MPLCONFIGDIR", raising=False)
    place_matplotlib()
    assert os.environ.pop("MPLCONFIGDIR") == str(read_only / f"siammask-matplotlib-{os.getuid()}")


@pytest.mark.parametrize("chosen", [None, "/chosen"])
def test_matplotlib_keeps_its_own_place_where_it_has_one(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, chosen: str | None
) -> None:
    monkeypatch.setenv("HOME", str(temporary))
    for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "MPLCONFIGDIR"):
        monkeypatch.delenv(name, raising=False)
    if chosen:
        monkeypatch.setenv("MPLCONFIGDIR", chosen)
    place_matplotlib()
    assert os.environ.get("MPLCONFIGDIR") == chosen
