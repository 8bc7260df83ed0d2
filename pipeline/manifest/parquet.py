"""Parquet manifests: one row a clip, types as written.

Read row group by row group, with the file's own schema: types are checked once for the file, and an id column that
some tool turned into numbers is refused and not turned back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as types

from pipeline import storage
from pipeline.manifest import kept_columns
from pipeline.manifest.check import CLIP_COLUMNS, Rules, check_row
from pipeline.manifest.checked import Checked, Log, placed
from pipeline.manifest.files import ManifestPiece
from pipeline.manifest.objects import OBJECT_COLUMNS
from pipeline.manifest.problems import Problem, show

_BATCH_ROWS = 2048


def read_parquet(piece: ManifestPiece, rules: Rules, log: Log) -> Iterator[Checked]:
    """Check the rows of the row groups that begin in a piece; rows count from 1 in the file."""
    with storage.reporting(piece.file.uri, "read"), storage.open_file(piece.file.uri) as source:
        try:
            file = pq.ParquetFile(source)
        except pa.ArrowInvalid:
            yield Checked(0, None, [Problem("", "a Parquet file", "a damaged file or another format")])
            return
        schema = file.schema_arrow
        problems = check_schema(schema, rules, log)
        if problems:
            yield Checked(0, None, problems)
            return
        columns = [name for name in schema.names if name in CLIP_COLUMNS or name in rules.keep]
        row = 0
        for index in range(file.num_row_groups):
            group = file.metadata.row_group(index)
            if piece.start <= _offset(group, piece.file.size) < piece.end:
                yield from _rows(file, index, columns, row, rules)
            row += group.num_rows


def _rows(file: pq.ParquetFile, group: int, columns: list[str], row: int, rules: Rules) -> Iterator[Checked]:
    for batch in file.iter_batches(_BATCH_ROWS, row_groups=[group], columns=columns):
        table = {name: _values(batch.column(name), name in rules.keep) for name in batch.schema.names}
        for values in zip(*table.values(), strict=True):
            row += 1
            clip = check_row(dict(zip(table, values, strict=True)), rules)
            if isinstance(clip, list):
                yield Checked(row, None, placed(clip, row))
            else:
                yield Checked(row, clip, [])


def check_schema(schema: pa.Schema, rules: Rules, log: Log) -> list[Problem]:
    """Check that the columns are there, once, with types that fit, and note all columns and kept types."""
    names = schema.names
    log.columns.update(names)
    problems = [
        Problem(name, "one column of this name", f"{names.count(name)} columns")
        for name in sorted(set(names))
        if names.count(name) > 1 and (name in CLIP_COLUMNS or name in rules.keep)
    ]
    problems += [
        Problem(name, "a column of this name", f"the columns {', '.join(names) or '(none)'}")
        for name in ("video_uri", "objects")
        if name not in names
    ]
    if problems:
        return problems
    for name in names:
        column_type = schema.field(name).type if names.count(name) == 1 else pa.null()
        if name in _COLUMNS and not types.is_null(column_type):
            expected, fits = _COLUMNS[name]
            if not fits(column_type):
                problems.append(Problem(name, expected, f"the type {column_type}"))
            elif name == "objects":
                problems += _check_objects(column_type.value_type, log)
        if name in rules.keep:
            kept_type = kept_columns.arrow_type(column_type)
            if kept_type is None:
                problems.append(Problem(name, f"{kept_columns.KEPT}, or a time, to keep", f"the type {column_type}"))
            else:
                log.seen[name] = [kept_columns.Seen(kept_type, None)]
    return problems


def _check_objects(struct: pa.DataType, log: Log) -> list[Problem]:
    problems = []
    for field in struct:
        if field.name not in OBJECT_COLUMNS:
            log.columns.add(f"objects.{field.name}")
        elif not types.is_null(field.type):
            expected, fits = _OBJECT[field.name]
            if not fits(field.type):
                problems.append(Problem(f"objects.{field.name}", expected, f"the type {field.type}"))
    if len({field.name for field in struct}) != struct.num_fields:
        problems.append(Problem("objects", "fields of different names", show(str(struct))))
    return problems


def _values(column: pa.Array, is_kept: bool) -> list[Any]:
    return kept_columns.json_values(column) if is_kept else column.to_pylist()


def _offset(group: pq.RowGroupMetaData, size: int) -> int:
    """Where a row group begins; kept inside the file, so that each belongs to exactly one piece."""
    first = group.column(0)
    return min(max(first.dictionary_page_offset or first.data_page_offset, 0), size - 1)


def _is_text(kind: pa.DataType) -> bool:
    if types.is_dictionary(kind):
        kind = kind.value_type
    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def _is_number(kind: pa.DataType) -> bool:
    return types.is_integer(kind) or types.is_floating(kind)


def _list_of(fits: Callable[[pa.DataType], bool]) -> Callable[[pa.DataType], bool]:
    def check(kind: pa.DataType) -> bool:
        is_list = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
        return is_list and (fits(kind.value_type) or types.is_null(kind.value_type))

    return check


def _is_mask(kind: pa.DataType) -> bool:
    if not types.is_struct(kind):
        return False
    fields = {field.name: field.type for field in kind}
    return (
        fields.keys() >= {"size", "counts"}
        and _list_of(_is_number)(fields["size"])
        and _is_text(fields["counts"])
    )


_TEXT = ("string", _is_text)
_FRAME = ("int64, or double with whole numbers", _is_number)
_SECONDS = ("double", _is_number)
_COLUMNS: dict[str, tuple[str, Callable[[pa.DataType], bool]]] = {
    "video_uri": _TEXT,
    "clip_id": _TEXT,
    "start_frame": _FRAME,
    "end_frame": _FRAME,
    "start_s": _SECONDS,
    "fps": _SECONDS,
    "end_s": _SECONDS,
    "objects": ("list<struct>", _list_of(types.is_struct)),
}
_OBJECT: dict[str, tuple[str, Callable[[pa.DataType], bool]]] = {
    "object_id": _TEXT,
    "category": _TEXT,
    "direction": _TEXT,
    "init_frame": _FRAME,
    "end_frame": _FRAME,
    "box": ("list<double>", _list_of(_is_number)),
    "polygon": ("list<double>", _list_of(_is_number)),
    "mask": ("struct<size: list<int>, counts: string>", _is_mask),
}
