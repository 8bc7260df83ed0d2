"""What the tests of the layout look for in a tree: imports across folders, circles, sizes, names of classes."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

PACKAGES = ("model", "pipeline")
MAX_LINES = 300
MAX_MODULES = 15


def modules(root: Path, *folders: str) -> dict[str, Path]:
    """Dotted name -> file (relative to `root`) of every module below the folders."""
    files = [path.relative_to(root) for folder in folders for path in sorted((root / folder).rglob("*.py"))]
    return {".".join(file.with_suffix("").parts).removesuffix(".__init__"): file for file in files}


def imports(tree: ast.AST, package: str, *, module_level: bool = False) -> Iterator[tuple[str, str | None, int]]:
    """Each import as (module, name taken from it or None, line); relative ones are resolved against `package`.

    `module_level`: only what runs when the file is imported, neither in functions nor under TYPE_CHECKING.
    """
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((module, alias.name, node.lineno) for alias in node.names)
        elif module_level and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        elif module_level and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for other in node.orelse:
                yield from imports(other, package, module_level=True)
        else:
            yield from imports(node, package, module_level=module_level)


def imports_of(root: Path, file: Path, *, module_level: bool = False) -> Iterator[tuple[str, str | None, int]]:
    tree = ast.parse((root / file).read_text(), filename=str(file))
    return imports(tree, ".".join(file.parent.parts), module_level=module_level)


def banned_imports(root: Path, folder: str, banned: set[str], *, module_level: bool = False) -> list[str]:
    """`file:line imports module` for each import whose top-level package is banned."""
    return [
        f"{file}:{line} imports {module}"
        for file in modules(root, folder).values()
        for module, _, line in imports_of(root, file, module_level=module_level)
        if module.split(".")[0] in banned
    ]


def arrows(root: Path) -> dict[str, dict[str, int]]:
    """Module -> the modules of `PACKAGES` that it imports, in functions and for types too, each with the first line."""
    known = modules(root, *PACKAGES)
    graph: dict[str, dict[str, int]] = {name: {} for name in known}
    for name, file in known.items():
        for module, member, line in imports_of(root, file):
            target = f"{module}.{member}" if f"{module}.{member}" in known else module
            while target and target not in known:
                target = target.rpartition(".")[0]
            if target and target != name:
                graph[name].setdefault(target, line)
    return graph


def folder_of(file: Path) -> str:
    """The key of a file in `ALLOWED`."""
    if len(file.parts) == 2:
        return str(file) if file.name == "__init__.py" else file.parts[0]
    return "/".join(file.parts[:2])


def table_breaches(root: Path, allowed: Mapping[str, set[str]]) -> list[str]:
    """`file:line imports file` for each import of another folder that the table does not allow."""
    files = modules(root, *PACKAGES)
    breaches = []
    for name, targets in arrows(root).items():
        folder = folder_of(files[name])
        for target, line in targets.items():
            other = folder_of(files[target])
            if other not in allowed.get(folder, set()) | {folder}:
                breaches.append(f"{files[name]}:{line} imports {files[target]}")
    return breaches


def circle(root: Path) -> list[str]:
    """The modules of one circle of imports, the first again at the end; empty where there is none."""
    try:
        TopologicalSorter(arrows(root)).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def too_large(root: Path) -> dict[str, int]:
    """Files of over `MAX_LINES` lines and folders of over `MAX_MODULES` modules, with their sizes."""
    product = modules(root, *PACKAGES, "jobs").values()
    lines = {str(file): len((root / file).read_text().splitlines()) for file in product}
    members: dict[str, int] = {}
    for file in modules(root, *PACKAGES).values():
        if file.name != "__init__.py":
            members[str(file.parent)] = members.get(str(file.parent), 0) + 1
    return {
        **{name: count for name, count in lines.items() if count > MAX_LINES},
        **{name: count for name, count in members.items() if count > MAX_MODULES},
    }


def named_twice(root: Path) -> dict[str, list[str]]:
    """Public classes of one name in several files, with the files."""
    files: dict[str, list[str]] = {}
    for file in modules(root, *PACKAGES).values():
        for node in ast.parse((root / file).read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                files.setdefault(node.name, []).append(str(file))
    return {name: places for name, places in files.items() if len(places) > 1}
