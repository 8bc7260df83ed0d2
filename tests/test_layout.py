"""Each check of the layout sees the breach that it is there for, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.layout import MAX_LINES, MAX_MODULES, banned_imports, circle, named_twice, table_breaches, too_large


def make_tree(root: Path, sources: Mapping[str, str]) -> None:
    """The files of `sources` (path -> text) under `root`, with an empty `__init__.py` in each of their folders."""
    for path, text in sources.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        for folder in file.relative_to(root).parents:
            if folder != Path("."):
                (root / folder / "__init__.py").touch()
        file.write_text(text)


@pytest.mark.parametrize(
    ("source", "module_level", "breach"),
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
def test_a_banned_package_is_seen(tmp_path: Path, source: str, module_level: bool, breach: bool) -> None:
    make_tree(tmp_path, {"model/sample.py": source})
    assert bool(banned_imports(tmp_path, "model", {"ray"}, module_level=module_level)) is breach


@pytest.mark.parametrize(
    ("path", "source", "breach"),
    [
        ("pipeline/reading/a.py", "from pipeline.output import b", False),
        ("pipeline/reading/a.py", "from pipeline.reading.c import d", False),
        ("pipeline/output/a.py", "from pipeline.reading import c", True),
        ("pipeline/output/a.py", "import pipeline.reading.c", True),
        ("pipeline/output/a.py", "from pipeline import reading", True),
        ("pipeline/output/a.py", "from ..reading import c", True),
        ("pipeline/output/a.py", "from ..reading.c import d", True),
        ("pipeline/output/a.py", "def f():\n    from pipeline.reading import c", True),
        ("pipeline/output/a.py", "if TYPE_CHECKING:\n    import pipeline.reading", True),
        ("pipeline/output/deeper/a.py", "from pipeline.reading import c", True),
        ("pipeline/unknown/a.py", "from pipeline.output import b", True),
        ("pipeline/word.py", "from pipeline.reading import c", True),
        ("pipeline/word.py", "import pipeline.errors", False),
        ("pipeline/__init__.py", "from pipeline.reading import c", False),
        ("pipeline/__init__.py", "from pipeline.output import b", True),
        ("pipeline/output/a.py", "import pyarrow", False),
    ],
)
def test_an_import_outside_the_table_is_seen(tmp_path: Path, path: str, source: str, breach: bool) -> None:
    allowed = {"pipeline/__init__.py": {"pipeline/reading"}, "pipeline/reading": {"pipeline/output"}}
    others = ("pipeline/errors.py", "pipeline/output/b.py", "pipeline/reading/c.py")
    make_tree(tmp_path, {**dict.fromkeys(others, ""), path: source})
    assert [text.split(":")[0] for text in table_breaches(tmp_path, allowed)] == [path] * breach


@pytest.mark.parametrize(
    ("back", "is_circle"),
    [
        ("import pipeline.output.a", True),
        ("def f():\n    from pipeline.output.a import name", True),
        ("if TYPE_CHECKING:\n    from pipeline.output import a", True),
        ("from . import a", True),
        ("from pipeline.output import other", False),
    ],
)
def test_a_circle_is_seen(tmp_path: Path, back: str, is_circle: bool) -> None:
    folder = "pipeline/output"
    make_tree(
        tmp_path,
        {
            f"{folder}/a.py": "from pipeline.output.b import name",
            f"{folder}/b.py": "from pipeline.output import c",
            f"{folder}/c.py": back,
            f"{folder}/other.py": "",
        },
    )
    members = {f"pipeline.output.{letter}" for letter in "abc"} if is_circle else set()
    assert set(circle(tmp_path)) == members


@pytest.mark.parametrize(
    ("sources", "names"),
    [
        ({"pipeline/a.py": "x = 1\n" * MAX_LINES}, set()),
        ({"pipeline/a.py": "x = 1\n" * (MAX_LINES + 1)}, {"pipeline/a.py"}),
        ({"jobs/a.py": "x = 1\n" * (MAX_LINES + 1)}, {"jobs/a.py"}),
        ({f"model/engine/m{i}.py": "" for i in range(MAX_MODULES)}, set()),
        ({f"model/engine/m{i}.py": "" for i in range(MAX_MODULES + 1)}, {"model/engine"}),
        ({f"model/m{i}.py": "" for i in range(MAX_MODULES + 1)}, {"model"}),
    ],
)
def test_what_is_too_large_is_seen(tmp_path: Path, sources: dict[str, str], names: set[str]) -> None:
    make_tree(tmp_path, sources)
    assert set(too_large(tmp_path)) == names


@pytest.mark.parametrize(
    ("source", "names"),
    [("class Clip: ...", {"Clip"}), ("class _Clip: ...", set()), ("class Run:\n    class Clip: ...", set())],
)
def test_a_class_name_used_twice_is_seen(tmp_path: Path, source: str, names: set[str]) -> None:
    make_tree(tmp_path, {"model/clip.py": "class Clip: ...\nclass _Clip: ...", "pipeline/reading/clip.py": source})
    assert set(named_twice(tmp_path)) == names
