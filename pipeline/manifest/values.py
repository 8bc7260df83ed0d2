"""Single values of a manifest: text, whole numbers, numbers. A value that is None counts as absent.

Types are strict, because a wrong type is nearly always a column that some tool rewrote: an id that is a number
has lost its leading zeros by then, and `true` is no frame. A whole number may be written as a float (`3.0`), as pandas
writes a column with gaps.
"""

from __future__ import annotations

import math
from typing import Any

from pipeline.manifest.problems import Problem, show

INT64_MAX = 2**63 - 1


def text(value: Any, column: str, problems: list[Problem]) -> str | None:
    """A string that is not empty and is valid Unicode, or None where it is absent or bad."""
    if value is None:
        return None
    if type(value) is not str:
        problems.append(Problem(column, "a string", f"{show(value)} ({_type_name(value)})"))
        return None
    if not value or value.isspace():
        problems.append(Problem(column, "a string that is not empty", show(value)))
        return None
    if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
        problems.append(Problem(column, "valid Unicode", show(value)))
        return None
    return value


def whole(value: Any, column: str, problems: list[Problem], least: int = 0) -> int | None:
    """An int64 of at least `least`, or None where it is absent or bad."""
    if value is None:
        return None
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int:
        problems.append(Problem(column, "a whole number", f"{show(value)} ({_type_name(value)})"))
        return None
    if not least <= value <= INT64_MAX:
        problems.append(Problem(column, f"{least} or more, as int64", show(value)))
        return None
    return value


def number(value: Any, column: str, problems: list[Problem]) -> float | None:
    """A finite number, as a float, or None where it is absent or bad."""
    if value is None:
        return None
    if type(value) is not float and type(value) is not int:
        problems.append(Problem(column, "a number", f"{show(value)} ({_type_name(value)})"))
        return None
    try:
        out = float(value)
    except OverflowError:
        out = math.inf
    if not math.isfinite(out):
        problems.append(Problem(column, "a finite number", show(value)))
        return None
    return out + 0.0  # -0.0 and 0.0 are one value with two spellings


def _type_name(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    names = {int: "a number", float: "a number", str: "a string", list: "a list", dict: "a struct"}
    return names.get(type(value), type(value).__name__)
