"""A private name of Ray may be used in `pipeline/cluster/ray_private.py` alone, which says why and until when."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ALLOWED = ROOT / "pipeline" / "cluster" / "ray_private.py"
FOLDERS = ("model", "pipeline", "jobs", "infra", "benchmarks")

# A part of a dotted name that starts with one underscore.
PRIVATE = re.compile(r"(^|\.)_(?!_)")


def private_names(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Private names of Ray with their lines: imported, reached by attribute, given as options, or in a string."""
    from_ray = set(_names_from_ray(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names if _is_private(alias.name))
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from ((name, node.lineno) for name in names if _is_private(name))
        elif isinstance(node, ast.Attribute) and PRIVATE.match(node.attr) and _root(node) in from_ray:
            yield ast.unparse(node), node.lineno
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _is_private(node.value):
            yield node.value, node.lineno
        elif isinstance(node, ast.Call | ast.Dict):
            # Ray's private options are the only ones with an underscore that this project could give to anything.
            yield from ((name, node.lineno) for name in _option_names(node) if PRIVATE.match(name))
        elif isinstance(node, ast.Assign):
            keys = (target.slice for target in node.targets if isinstance(target, ast.Subscript))
            values = (key.value for key in keys if isinstance(key, ast.Constant) and isinstance(key.value, str))
            yield from ((value, node.lineno) for value in values if PRIVATE.match(value))


def _is_private(name: str) -> bool:
    return bool(re.fullmatch(r"ray(\.\w+)+", name) and PRIVATE.search(name))


def _names_from_ray(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported = (alias for alias in node.names if alias.name.split(".")[0] == "ray")
            yield from (alias.asname or "ray" for alias in imported)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "ray":
            yield from (alias.asname or alias.name for alias in node.names)


def _root(node: ast.expr) -> str:
    """The name at the left end of a chain of attributes and calls."""
    while isinstance(node, ast.Attribute | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def _option_names(node: ast.Call | ast.Dict) -> Iterator[str]:
    if isinstance(node, ast.Call):
        yield from (keyword.arg for keyword in node.keywords if keyword.arg)
    else:
        yield from (key.value for key in node.keys if isinstance(key, ast.Constant) and isinstance(key.value, str))


def test_private_names_of_ray_are_in_one_file() -> None:
    files = [file for folder in FOLDERS for file in sorted((ROOT / folder).rglob("*.py")) if file != ALLOWED]
    assert len(files) > 100
    breaches = [
        f"{file.relative_to(ROOT)}:{line} {name}"
        for file in files
        for name, line in private_names(ast.parse(file.read_text(), filename=str(file)))
    ]
    assert breaches == []


def test_that_file_has_some() -> None:
    assert len(set(private_names(ast.parse(ALLOWED.read_text())))) >= 8


@pytest.mark.parametrize(
    "source",
    [
        "import ray._private.state",
        "import ray._raylet as raylet",
        "from ray import _private",
        "from ray._private.state import state",
        "from ray.autoscaler._private.kuberay import node_provider",
        "from ray.train.v2._internal.callbacks import x",
        "from ray.util.state import _name",
        "def f():\n    import ray\n    ray._private.worker.get_dashboard_url()",
        "import ray.data as rd\nrd._internal.execution",
        "from ray.data import DataContext\nDataContext.get_current()._set_option",
        "f.options(_generator_backpressure_num_objects=1)",
        'f.options(**{"_generator_backpressure_num_objects": 1})',
        'options["_spill_on_unavailable"] = True',
        'logging.getLogger("ray.data._internal.progress")',
        'importlib.import_module("ray._private.state")',
    ],
)
def test_each_kind_of_breach_is_seen(source: str) -> None:
    assert list(private_names(ast.parse(source)))


@pytest.mark.parametrize(
    "source",
    [
        "import ray\nray.__version__",
        "import ray\nray.data.from_items([])",
        "from pipeline.cluster import ray_private\nray_private.prefer_node(node)",
        "self._ray._private",
        'storage.join(output, "_runs")',
        "f.options(num_cpus=1)",
        '"ray._private is described in a text of several words"',
    ],
)
def test_what_is_public_or_our_own_is_left_alone(source: str) -> None:
    assert list(private_names(ast.parse(source))) == []
