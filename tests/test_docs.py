"""The documents say what is there: links lead somewhere, commands exist, tables and options are the code's own."""

from __future__ import annotations

import ast
import importlib
import io
import os
import re
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
import typer.main

from pipeline.output.schema import CLIPS, MASKS

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])


def table_under(text: str, heading: str) -> list[list[str]]:
    """Cells of the first table after a heading (after the document's start where it is empty)."""
    rows = []
    for line in text[text.index(heading) :].splitlines():
        if line.startswith("|"):
            rows.append([cell.strip() for cell in line.strip("|").split("|")])
        elif rows:
            break
    return rows[2:]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_and_commands_exist(document: Path) -> None:
    text = document.read_text()
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if "://" not in target:
            assert (document.parent / target).exists(), f"{document.name} links to {target}, which is not there"
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for command in re.findall(r"^ {4}make ([a-z]+)|`make ([a-z]+)", text, re.MULTILINE):
        assert "".join(command) in targets, f"{document.name} names `make {''.join(command)}`"
    for path in re.findall(r"python (jobs/\w+\.py)", text):
        assert (ROOT / path).is_file()


CODE = sorted(
    file
    for folder in ("model", "pipeline", "jobs", "infra", "benchmarks", "tests")
    for file in (ROOT / folder).rglob("*.py")
    if file != ROOT / "tests" / "test_layout.py"  # its made trees name files that are not there
)
PATH = re.compile(
    r"(?<![\w./-])(?:model|pipeline|jobs|infra|benchmarks|tests|docs)/[\w/.-]*\w\.(?:py|md|yaml|json|j2|css|js)\b"
)
FILE = re.compile(r"(?<![\w./*<-])\w+\.py\b")
DOTTED = re.compile(r"`(?:python -m )?((?:model|pipeline|jobs|infra|benchmarks)(?!\.pth\b)(?:\.\w+)+)")


def prose(source: str) -> Iterator[str]:
    """The docstrings and comments of Python source."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value.value
    yield from (
        token.string
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    )


def names_in(file: Path) -> set[str]:
    """The names that a module defines or takes from others, and those in the bodies of its classes."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names.update((alias.asname or alias.name).split(".")[0] for alias in node.names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def is_there(name: str) -> bool:
    """Whether a dotted name is a module, or a name in one, or in a class in one."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        place = ROOT.joinpath(*parts[:count])
        file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        if file.is_file():
            return count >= len(parts) - 2 and set(parts[count:]) <= names_in(file)
        if place.is_dir():
            return count == len(parts)
    return False


def absent(text: str) -> list[str]:
    """The files, modules and names of the project that a text names and that are not there."""
    files = {file.name for file in CODE} | {"test_layout.py"}
    return [
        *(path for path in PATH.findall(text) if not (ROOT / path).exists()),
        *(name for name in FILE.findall(text) if name not in files),
        *(name for name in DOTTED.findall(text) if not is_there(name)),
    ]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_documents_name_what_is_there(document: Path) -> None:
    assert absent(document.read_text()) == []


def test_docstrings_and_comments_name_what_is_there() -> None:
    missing = {str(file.relative_to(ROOT)): absent("\n".join(prose(file.read_text()))) for file in CODE}
    assert {file: names for file, names in missing.items() if names} == {}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("see `pipeline/output/lease.py` and tests/test_docs.py", []),
        ("see pipeline/output/gone.py", ["pipeline/output/gone.py"]),
        ("shard_runner.py does it", ["shard_runner.py"]),
        ("`pipeline.output.lease` and `pipeline.open_run(uri)`", []),
        (
            "`pipeline.output.schema.MASKS` is right, `pipeline.output.schema.GONE` is not",
            ["pipeline.output.schema.GONE"],
        ),
        ("`python -m model.gone`", ["model.gone"]),
    ],
)
def test_what_is_absent_is_seen(text: str, names: list[str]) -> None:
    assert absent(text) == names


@pytest.mark.parametrize(("heading", "schema"), [("## `masks`", MASKS), ("## `clips`", CLIPS)])
def test_documented_columns_are_the_schemas(heading: str, schema: pa.Schema) -> None:
    rows = table_under((ROOT / "docs" / "tables.md").read_text(), heading)
    assert [row[0].strip("`") for row in rows] == schema.names
    names = {"timestamp[us, tz=UTC]": "timestamp[us, UTC]"}
    for name, kind, *_ in rows:
        actual = schema.field(name.strip("`")).type
        assert re.sub(r"\W", "", kind) == re.sub(r"\W", "", _written(actual, names)), name


def _written(kind: pa.DataType, names: dict[str, str]) -> str:
    """A type as the document writes it: fields of equal type share it."""
    if pa.types.is_struct(kind):
        parts, fields = [], list(kind)
        for i, item in enumerate(fields):
            last = i + 1 == len(fields) or fields[i + 1].type != item.type
            parts.append(item.name + (": " + _written(item.type, names) if last else ""))
        return "struct<" + ", ".join(parts) + ">"
    if pa.types.is_fixed_size_list(kind):
        return f"list<{_written(kind.value_type, names)}>[{kind.list_size}]"
    if pa.types.is_list(kind):
        return f"list<{_written(kind.value_type, names)}>"
    return names.get(str(kind), str(kind))


@pytest.mark.parametrize(
    ("job", "page", "heading"),
    [
        ("segment", "job.md", "# The job"),
        ("render", "render.md", "# Videos of what was tracked"),
        ("export", "export.md", "# Exports"),
    ],
)
def test_documented_options_are_the_jobs(job: str, page: str, heading: str) -> None:
    command = typer.main.get_command(importlib.import_module(f"jobs.{job}").app)
    actual = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    rows = table_under((ROOT / "docs" / page).read_text(), heading)
    documented = {name for row in rows for name in re.findall(r"--[a-z-]+", row[0])}
    assert documented == actual - {"--help"}


def test_the_site_builds_strictly(tmp_path: Path) -> None:
    """Every page is in the navigation, every link and anchor leads somewhere, and pages fetch nothing from outside."""
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > len(DOCUMENTS) - 2
    for page in pages:
        text = page.read_text()
        loaded = re.findall(r"""<(?:script|img|iframe)\b[^>]* src=["']?([^"' >]+)""", text)
        loaded += re.findall(r"""<link\b(?![^>]*canonical)[^>]* href=["']?([^"' >]+)""", text)
        outside = [url for url in loaded if re.match(r"(https?:)?//", url)]
        assert not outside, f"{page.name} loads {outside}"


def test_constraints_pin_what_the_project_needs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    pinned = {line.split("==")[0] for line in (ROOT / "constraints.txt").read_text().split()}
    names = {re.split(r"[\[<>=;]", need)[0].strip().lower() for need in wanted}
    assert names <= pinned
    assert "torch==2.13.0" in (ROOT / "constraints.txt").read_text().split()
