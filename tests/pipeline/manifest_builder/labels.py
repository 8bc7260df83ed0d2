"""Files of labels for the tests of their readers."""

from __future__ import annotations

import json
from typing import Any

from pipeline.manifest_builder.label_files import LabelFile


def label_file(content: str | bytes | Any, path: str = "harbour", **beside: str) -> LabelFile:
    """A file that messages call `labels`; files beside it by their names, `_` for the dot."""
    if not isinstance(content, str | bytes):
        content = json.dumps(content)
    data = content.encode() if isinstance(content, str) else content
    files = {path.rpartition("/")[2]: data, **{name.replace("_", "."): text.encode() for name, text in beside.items()}}
    return LabelFile("labels", path, files.get)


def changed(value: Any, path: tuple[str | int, ...], new: Any) -> Any:
    copy = json.loads(json.dumps(value))
    inner = copy
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = new
    return copy
