"""The chaos run of CI: the real job under kills and outages by a seeded plan gives the tables of an undisturbed run.

A larger one by hand: `python -m tests.chaos --clips 200 --kills 60 --seed 7`.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT

SEED = 1


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_kills_and_outages_change_no_row(tmp_path: Path, say: Callable[[str], None]) -> None:
    """At least 60 clips, 20 kills and 6 outages on three nodes; none lost, none twice, no orphan file."""
    command = [sys.executable, "-m", "tests.chaos", "--seed", str(SEED), "--kills", "20", "--folder", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=2300)
    say("\n".join(done.stdout.splitlines()[-12:]))
    assert done.returncode == 0, done.stdout
    assert done.stdout.rstrip().endswith("good")
