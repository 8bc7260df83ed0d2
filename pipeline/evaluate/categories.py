"""Which objects are of categories that training has seen, for YouTube-VOS's seen and unseen means."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.errors import UsageError
from pipeline.evaluate.truth import Truth

_YES, _NO = {"1", "true", "yes", "seen"}, {"0", "false", "no", "unseen"}


def seen_objects(uri: str, truth: Truth) -> dict[tuple[str, str], bool]:
    """Whether the category of each object of the truth is one of training's, by sequence and object id.

    Args:
        uri: CSV, JSON Lines or Parquet with the columns `category` and `seen`, for a truth that has categories, or
            `sequence`, `object_id` and `seen`. `seen` is true or false, 1 or 0.

    Raises:
        UsageError: the file is of another form, or says nothing of an object; names it.
        StorageError: it cannot be read.
    """
    uri = storage.parse(uri).uri
    table = _read(uri)
    names = set(table.column_names)
    keys: tuple[str, ...]
    if {"sequence", "object_id", "seen"} <= names:
        keys = ("sequence", "object_id")
    elif {"category", "seen"} <= names:
        keys = ("category",)
    else:
        raise UsageError(
            f"--categories {uri}: expected the columns category, seen or sequence, object_id, seen; "
            f"it has {', '.join(table.column_names)}"
        )
    known = {tuple(str(row[key]) for key in keys): _flag(row["seen"], uri) for row in table.to_pylist()}
    seen = {}
    for sequence, objects in truth.objects.items():
        for object_id, category in objects.items():
            key = (sequence, object_id) if len(keys) == 2 else (category,)
            if key not in known:
                subject = f"object {object_id} of sequence {sequence}" if len(keys) == 2 else f"category {category!r}"
                raise UsageError(f"--categories {uri}: it says nothing of {subject}")
            seen[sequence, object_id] = known[key]
    return seen


def _read(uri: str) -> pa.Table:
    kind = uri.rsplit(".", 1)[-1].lower()
    filesystem, path = storage.filesystem_for(uri)
    with storage.reporting(uri, "read"), filesystem.open_input_file(path) as file:
        try:
            if kind == "csv":
                texts = {name: pa.string() for name in ("sequence", "object_id", "category")}
                return pyarrow.csv.read_csv(file, convert_options=pyarrow.csv.ConvertOptions(column_types=texts))
            if kind in ("json", "jsonl", "ndjson"):
                return pyarrow.json.read_json(file)
            if kind == "parquet":
                return pq.read_table(file)
        except pa.ArrowInvalid as error:
            raise UsageError(f"--categories {uri}: it cannot be read as {kind}: {error}") from error
    raise UsageError(f"--categories {uri}: expected a .csv, .jsonl or .parquet file")


def _flag(value: Any, uri: str) -> bool:
    text = str(value).lower()
    if text not in _YES | _NO:
        raise UsageError(f"--categories {uri}: seen is {value!r}: expected true or false")
    return text in _YES
