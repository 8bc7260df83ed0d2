"""The import rules: jobs -> pipeline -> model, no Ray under model/, no torch at import of pipeline/."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# What a folder may never import, at any depth of its code.
FORBIDDEN = {
    "model": {"ray", "pipeline", "jobs", "boto3", "botocore"},
    "pipeline": {"jobs"},
}


def imported(tree: ast.AST, *, module_level: bool = False) -> Iterator[tuple[str, int]]:
    """Names of imported modules with their lines; `module_level`: only what runs on import of the file."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module, node.lineno
        elif module_level and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        elif module_level and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for other in node.orelse:
                yield from imported(other, module_level=True)
        else:
            yield from imported(node, module_level=module_level)


def modules(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def violations(files: list[Path], forbidden: set[str], *, module_level: bool = False) -> list[str]:
    """`file:line imports name` for each import whose top-level package is forbidden."""
    found = []
    for file in files:
        tree = ast.parse(file.read_text(), filename=str(file))
        for name, line in imported(tree, module_level=module_level):
            if name.split(".")[0] in forbidden:
                found.append(f"{file}:{line} imports {name}")
    return found


@pytest.mark.parametrize("folder", sorted(FORBIDDEN))
def test_one_way_imports(folder: str) -> None:
    assert modules(folder), f"no modules under {folder}/"
    assert violations(modules(folder), FORBIDDEN[folder]) == []


def test_pipeline_has_no_torch_at_module_level() -> None:
    assert violations(modules("pipeline"), {"torch"}, module_level=True) == []


def test_importing_all_of_pipeline_leaves_torch_alone() -> None:
    """Also through others: a decode worker that only imports pipeline must not pay for torch."""
    names = [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in modules("pipeline")]
    names = [name.removesuffix(".__init__") for name in names if not name.endswith("__main__")]
    program = (
        "import importlib, sys\n"
        f"for name in {names!r}:\n"
        "    importlib.import_module(name)\n"
        "    assert 'torch' not in sys.modules, f'importing {name} imports torch'\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("source", "module_level", "expected"),
    [
        ("import ray.data", False, True),
        ("from ray import data", False, True),
        ("def f():\n    import ray", False, True),
        ("def f():\n    import ray", True, False),
        ("class C:\n    import ray", True, True),
        ("try:\n    import ray\nexcept ImportError:\n    pass", True, True),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import ray", True, False),
        ("import rayon\nfrom . import ray", False, False),
    ],
)
def test_the_check_sees_what_it_must(tmp_path: Path, source: str, module_level: bool, expected: bool) -> None:
    (tmp_path / "sample.py").write_text(source)
    found = violations([tmp_path / "sample.py"], {"ray"}, module_level=module_level)
    assert bool(found) is expected
