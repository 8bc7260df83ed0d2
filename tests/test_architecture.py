"""The rules of the layout: which folder imports which, no circle between files, no file or folder too large to read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.layout import PACKAGES, banned_imports, circle, folder_of, modules, named_twice, table_breaches, too_large

ROOT = Path(__file__).resolve().parent.parent

# Packages that a package may never import, at any depth of its code.
FORBIDDEN = {
    "model": {"ray", "boto3", "botocore", "pipeline", "jobs", "infra", "benchmarks", "tests"},
    "pipeline": {"jobs", "infra", "benchmarks", "tests"},
    "jobs": {"infra", "benchmarks", "tests"},
}

# Folder -> the other folders that its files may import. "pipeline" and "model" are the files directly in them; their
# `__init__.py` stands for itself, since it hands out names of the folders below.
ALLOWED: dict[str, set[str]] = {
    "model/__init__.py": {"model/track"},
    "model/engine": {"model", "model/network", "model/tracker"},
    "model": set(),
    "model/masks": {"model"},
    "model/metrics": set(),
    "model/network": {"model"},
    "model/track": {
        "model", "model/engine", "model/masks", "model/network", "model/tracker", "model/video", "model/weights",
    },
    "model/tracker": {"model", "model/network"},
    "model/training": {
        "model", "model/engine", "model/masks", "model/metrics", "model/network", "model/tracker", "model/video",
        "model/weights",
    },
    "model/video": set(),
    "model/weights": {"model/network", "model/video"},
    "pipeline/__init__.py": {"pipeline/reading"},
    "pipeline": set(),
    "pipeline/actor": {
        "model", "model/engine", "model/masks", "model/network", "model/track", "model/tracker",
        "pipeline", "pipeline/decode", "pipeline/output", "pipeline/plan", "pipeline/progress", "pipeline/storage",
    },
    "pipeline/cluster": {"pipeline"},
    "pipeline/decode": {"model/video", "pipeline/cluster", "pipeline/progress", "pipeline/storage"},
    "pipeline/demo": {"model/track", "model/video"},
    "pipeline/driver": {
        "pipeline", "pipeline/actor", "pipeline/cluster", "pipeline/decode", "pipeline/manifest", "pipeline/output",
        "pipeline/plan", "pipeline/progress", "pipeline/report", "pipeline/storage",
    },
    "pipeline/evaluate": {
        "model", "model/engine", "model/masks", "model/metrics", "model/network", "model/track", "model/tracker",
        "model/training", "model/video", "pipeline", "pipeline/plan", "pipeline/reading", "pipeline/storage",
    },
    "pipeline/export": {"model/masks", "pipeline", "pipeline/output", "pipeline/reading", "pipeline/storage"},
    "pipeline/manifest": {"pipeline", "pipeline/storage"},
    "pipeline/manifest_builder": {
        "model/video", "pipeline", "pipeline/decode", "pipeline/manifest", "pipeline/reading", "pipeline/storage",
    },
    "pipeline/output": {"pipeline", "pipeline/storage"},
    "pipeline/plan": {
        "model", "model/network", "model/track", "model/tracker", "model/weights", "pipeline", "pipeline/cluster",
        "pipeline/decode", "pipeline/manifest", "pipeline/output", "pipeline/storage",
    },
    "pipeline/progress": set(),
    "pipeline/reading": {"model", "model/video", "pipeline", "pipeline/decode", "pipeline/output", "pipeline/storage"},
    "pipeline/render": {"model/video", "pipeline", "pipeline/cluster", "pipeline/reading", "pipeline/storage"},
    "pipeline/report": {"model", "model/video", "pipeline", "pipeline/cluster", "pipeline/decode", "pipeline/output",
                        "pipeline/storage"},
    "pipeline/storage": set(),
    "pipeline/training": {
        "model/network", "model/training", "model/weights", "pipeline", "pipeline/cluster", "pipeline/storage",
    },
}


@pytest.mark.parametrize("folder", sorted(FORBIDDEN))
def test_packages_import_one_way(folder: str) -> None:
    assert modules(ROOT, folder), f"no modules under {folder}/"
    assert banned_imports(ROOT, folder, FORBIDDEN[folder]) == []


def test_pipeline_has_no_torch_at_module_level() -> None:
    assert banned_imports(ROOT, "pipeline", {"torch"}, module_level=True) == []


def test_folders_import_what_the_table_allows() -> None:
    files = modules(ROOT, *PACKAGES)
    assert {folder_of(file) for file in files.values() if (ROOT / file).read_text().strip()} <= ALLOWED.keys()
    assert table_breaches(ROOT, ALLOWED) == []


def test_no_circle_between_files() -> None:
    assert circle(ROOT) == []


def test_files_and_folders_can_be_read_in_one_sitting() -> None:
    assert too_large(ROOT) == {}


def test_a_class_name_stands_for_one_thing() -> None:
    assert named_twice(ROOT) == {}


def test_importing_all_of_pipeline_leaves_torch_alone() -> None:
    """Also through others: a decode worker that only imports pipeline must not pay for torch."""
    names = [name for name in modules(ROOT, "pipeline") if not name.endswith("__main__")]
    program = (
        "import importlib, sys\n"
        f"for name in {names!r}:\n"
        "    importlib.import_module(name)\n"
        "    assert 'torch' not in sys.modules, f'importing {name} imports torch'\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert process.returncode == 0, process.stderr
