"""The help of a job comes at once: what reads tables or runs a model loads only when there is something to do."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import ROOT


@pytest.mark.parametrize("job", ["export", "render", "tune", "vot_tracker"])
def test_help_loads_neither_tables_nor_ray(job: str) -> None:
    command = [sys.executable, "-X", "importtime", f"jobs/{job}.py", "--help"]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "--help" in process.stdout
    imported = {line.rpartition("|")[2].strip() for line in process.stderr.splitlines()}
    assert "typer" in imported
    assert imported.isdisjoint({"pyarrow.dataset", "pandas", "cv2", "ray", "torch"})
