"""Kept columns: manifest columns that are copied into the `clips` table, and the Arrow type each gets there.

A clip carries its kept values as JSON. Parquet's own types are kept: times travel as the integers they are stored
as, and `pa.array(values, type)` makes them times again. JSON Lines gives string, bool, int64 or double by the values
seen; CSV gives strings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.types as types

from pipeline.manifest.problems import Problem, show
from pipeline.manifest.values import INT64_MAX

KEPT = "a string, a number, or true or false"


@dataclass(frozen=True, slots=True)
class Seen:
    """A type that a kept column has, and the first row with it."""

    type: pa.DataType
    row: int | None
    file: str = ""


def json_type(value: Any) -> pa.DataType | None:
    """The Arrow type of a JSON value; None where it cannot be kept."""
    if isinstance(value, bool):
        return pa.bool_()
    if isinstance(value, int):
        return pa.int64() if -INT64_MAX - 1 <= value <= INT64_MAX else None
    if isinstance(value, float):
        return pa.float64()
    if isinstance(value, str) and not any("\ud800" <= char <= "\udfff" for char in value):
        return pa.string()
    return None


def check_json(value: Any, column: str, row: int, seen: dict[str, list[Seen]]) -> list[Problem]:
    """Note the type of a kept JSON value, or say why it cannot be kept."""
    if value is None:
        return []
    value_type = json_type(value)
    if value_type is None:
        return [Problem(column, f"{KEPT}, since the column is kept", show(value), row)]
    known = seen.setdefault(column, [])
    if all(entry.type != value_type for entry in known):
        known.append(Seen(value_type, row))
    return []


def arrow_type(column_type: pa.DataType) -> pa.DataType | None:
    """The type that a kept Parquet column has in `clips`; None where it cannot be kept."""
    if types.is_dictionary(column_type):
        column_type = column_type.value_type
    if types.is_string(column_type) or types.is_large_string(column_type) or types.is_string_view(column_type):
        return pa.string()
    plain = types.is_boolean(column_type) or types.is_integer(column_type) or types.is_null(column_type)
    if plain or types.is_floating(column_type) or types.is_temporal(column_type):
        return None if types.is_interval(column_type) else column_type
    return None


def json_values(column: pa.Array) -> list[Any]:
    """The values of a kept Parquet column as JSON values; times become integers in their own unit."""
    if types.is_temporal(column.type):
        column = column.view(pa.int32() if column.type.bit_width == 32 else pa.int64())
    return column.to_pylist()


def unify(column: str, seen: list[Seen]) -> pa.DataType | Problem:
    """One type for a kept column: whole and other numbers become double, all else must agree.

    Returns:
        The type (string where every value is absent), or the problem, which names two rows that disagree.
    """
    known = [entry for entry in seen if not types.is_null(entry.type)]
    if not known:
        return pa.string()
    result = known[0]
    for entry in known[1:]:
        if entry.type == result.type:
            continue
        whole = [types.is_integer(item.type) for item in (result, entry)]
        if all(whole):
            result = Seen(pa.int64(), entry.row, entry.file)
        elif all(
            is_whole or types.is_floating(item.type) for item, is_whole in zip((result, entry), whole, strict=True)
        ):
            result = Seen(pa.float64(), entry.row, entry.file)
        else:
            first = result.file if result.row is None else f"{result.file}:{result.row}"
            return Problem(column, f"{result.type} as in {first}", str(entry.type), entry.row, entry.file)
    return result.type
