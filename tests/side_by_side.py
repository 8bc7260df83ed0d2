"""What `pytest -n 2 --dist loadfile` needs: the order of the files, and tests that nothing else runs beside.

A test marked `alone` waits until the other processes have ended their tests and has the machine for itself: it measures
time or memory. In one process, without `-n`, there is neither order nor waiting.

Where `SIAMMASK_TESTS_END` says when (seconds since 1970), no test marked `slow` begins later: it is skipped, by name.
The others all run.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FOLDER = pytest.StashKey[tempfile.TemporaryDirectory[str]]()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Name one folder for the locks to each process (pytest-xdist calls this in the one that deals out the work)."""
    if FOLDER not in node.config.stash:
        node.config.stash[FOLDER] = tempfile.TemporaryDirectory(prefix="siammask-tests-")
    node.workerinput["locks"] = node.config.stash[FOLDER].name


def pytest_unconfigure(config: pytest.Config) -> None:
    if FOLDER in config.stash:
        config.stash[FOLDER].cleanup()


def _locks(config: pytest.Config) -> Path | None:
    """The folder of the locks, in a process of several."""
    given = getattr(config, "workerinput", None)
    return Path(given["locks"]) if given else None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """First the files with tests that must be alone, which would later wait for long ones; last those with slow tests.

    Of each kind the longest first, so that the processes end at about the same time. How long a file takes is told by
    its tests' time limits and use of Ray.
    """
    if _locks(config) is None:
        return
    limit = float(config.getini("timeout"))
    alone: dict[Path, bool] = defaultdict(bool)
    slow: dict[Path, bool] = defaultdict(bool)
    seconds: dict[Path, float] = defaultdict(float)
    for item in items:
        alone[item.path] |= item.get_closest_marker("alone") is not None
        slow[item.path] |= item.get_closest_marker("slow") is not None
        if timeout := item.get_closest_marker("timeout"):
            seconds[item.path] += timeout.args[0]
        else:
            seconds[item.path] += limit if item.get_closest_marker("slow") else 1.0
        if "ray_local" in getattr(item, "fixturenames", ()):
            seconds[item.path] += 30.0
    items.sort(key=lambda item: (not alone[item.path], slow[item.path], -seconds[item.path]))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a slow test that would begin after the time for tests."""
    if item.get_closest_marker("slow") and time.time() > float(os.environ.get("SIAMMASK_TESTS_END", "inf")):
        pytest.skip("slow, and the time for tests is used up")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Hold the machine, shared or alone, around a test and its fixtures; waiting is outside of the test's time limit.

    Who waits for the machine holds the gate, so that no later test gets ahead of one that must be alone.
    """
    folder = _locks(item.config)
    if folder is None:
        return (yield)
    with (folder / "gate").open("w") as gate, (folder / "machine").open("w") as machine:
        fcntl.flock(gate, fcntl.LOCK_EX)
        fcntl.flock(machine, fcntl.LOCK_EX if item.get_closest_marker("alone") else fcntl.LOCK_SH)
        fcntl.flock(gate, fcntl.LOCK_UN)
        try:
            return (yield)
        finally:
            fcntl.flock(machine, fcntl.LOCK_UN)  # said, as a process that a test has forked has the file open too
