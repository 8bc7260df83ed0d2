"""The documents say what is there: links lead somewhere, commands exist, tables and options are the code's own."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pyarrow as pa
import pytest
import typer.main

from pipeline.tables import CLIPS, MASKS

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
