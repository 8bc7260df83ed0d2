"""The suite in two processes: what tests say is shown, and a test that must be alone is."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT

# Each test notes when it began and ended.
HEAD = """
import time
from pathlib import Path

import pytest

NOTES = Path(__file__).parent / "notes"

@pytest.fixture(autouse=True)
def noted(request):
    began = time.monotonic()
    yield
    NOTES.mkdir(exist_ok=True)
    (NOTES / request.node.nodeid.replace("/", "-")).write_text(f"{began} {time.monotonic()}")
"""
# It takes longer than the time limit of the quick one, which has to wait for it.
ORDINARY = """
@pytest.mark.parametrize("number", range(2))
def test_ordinary(number):
    time.sleep(2.5)
"""
QUICK = """
@pytest.mark.timeout(2)
@pytest.mark.parametrize("number", range(2))
def test_quick(number, say):
    time.sleep(0.1)
    say(f"figure {number}")
"""
CONFTEST = "from tests.conftest import pytest_terminal_summary, say\n"


def run(folder: Path, *arguments: str, end: float | None = None) -> subprocess.CompletedProcess[str]:
    """The tests of a folder with the suite's own hooks, in a pytest of their own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "SIAMMASK_"))}
    if end is not None:
        environment["SIAMMASK_TESTS_END"] = str(end)
    command = [sys.executable, "-m", "pytest", "-p", "tests.side_by_side", "-p", "no:cacheprovider", *arguments]
    command += ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(folder), str(folder)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)


def spans(folder: Path, name: str) -> list[tuple[float, float]]:
    """When the tests of this name began and ended."""
    notes = [path for path in (folder / "notes").iterdir() if name in path.name]
    return [(float(began), float(ended)) for began, ended in (path.read_text().split() for path in notes)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_0.py").write_text(HEAD + ORDINARY + QUICK)
    (tmp_path / "test_1.py").write_text(HEAD + "\npytestmark = pytest.mark.alone\n" + QUICK)
    return tmp_path


def test_a_test_that_must_be_alone_is(folder: Path) -> None:
    done = run(folder, "-n", "2", "--dist", "loadfile", "--no-loadscope-reorder")
    assert "6 passed" in done.stdout, done.stdout
    others = spans(folder, "test_0.py")
    assert len(others) == 4
    for began, ended in spans(folder, "test_1.py"):
        assert all(end <= began or ended <= begin for begin, end in others)


def test_the_rest_runs_side_by_side(folder: Path) -> None:
    (folder / "test_1.py").write_text(HEAD + ORDINARY)
    assert "6 passed" in run(folder, "-n", "2", "--dist", "loadfile").stdout
    first, second = (spans(folder, f"{name}.py::test_ordinary") for name in ("test_0", "test_1"))
    assert any(began < end and begin < ended for began, ended in first for begin, end in second)


@pytest.mark.parametrize("processes", ["0", "2"])
def test_what_tests_say_is_shown_at_the_end(folder: Path, processes: str) -> None:
    shown = run(folder, "-n", processes, "--dist", "loadfile", "-k", "quick").stdout
    assert shown.count("figure 0") == shown.count("figure 1") == 2
    assert shown.index("test_0.py::test_quick[1]") < shown.rindex("figure 1")


@pytest.mark.parametrize("processes", ["0", "2"])
def test_after_the_time_for_tests_no_slow_one_begins_and_the_others_all_run(tmp_path: Path, processes: str) -> None:
    (tmp_path / "test_0.py").write_text(HEAD + "@pytest.mark.slow\ndef test_slow(): ...\ndef test_beside(): ...\n")
    (tmp_path / "test_1.py").write_text(HEAD + "def test_quick(): ...\n")
    late = run(tmp_path, "-n", processes, "--dist", "loadfile", end=time.time() - 1).stdout
    assert "2 passed, 1 skipped" in late and "the time for tests is used up" in late, late
    assert "3 passed" in run(tmp_path, "-n", processes, "--dist", "loadfile", end=time.time() + 600).stdout
    assert "3 passed" in run(tmp_path, "-n", processes, "--dist", "loadfile").stdout


def test_files_with_slow_tests_come_last(tmp_path: Path) -> None:
    (tmp_path / "test_0.py").write_text(HEAD + "@pytest.mark.slow\ndef test_slow(): ...\ndef test_beside(): ...\n")
    (tmp_path / "test_1.py").write_text(HEAD + "def test_quick(): ...\n")
    (tmp_path / "test_2.py").write_text(HEAD + "@pytest.mark.alone\ndef test_alone(): ...\n")
    assert "4 passed" in run(tmp_path, "-n", "1", "--dist", "loadfile", "--no-loadscope-reorder").stdout
    order = ["test_alone", "test_quick", "test_slow", "test_beside"]
    assert sorted(order, key=lambda name: spans(tmp_path, name)[0]) == order


def test_no_test_is_an_error(folder: Path) -> None:
    assert run(folder, "-n", "2", "--dist", "loadfile", "-k", "absent").returncode == 5
