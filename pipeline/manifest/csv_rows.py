"""CSV manifests: one row an object, flat columns, the rows of one clip anywhere in the file.

Read by Python's csv module: each problem needs the line that its record begins on, quoted values may contain line
ends, and every value has to stay the text it is (`007`). Rows are sorted into clips by SQLite in a temporary file on
disk, so that memory does not grow with the manifest.
"""

from __future__ import annotations

import contextlib
import csv
import itertools
import json
import re
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import pyarrow as pa

from pipeline.clip import default_clip_id
from pipeline.manifest.check import RANGE_COLUMNS, Rules, check_row
from pipeline.manifest.checked import Checked, Log, placed
from pipeline.manifest.csv_text import CsvText, is_blank, open_csv
from pipeline.manifest.files import ManifestPiece
from pipeline.manifest.kept_columns import Seen
from pipeline.manifest.problems import MAX_PROBLEMS, Problem, show

_BOX = ("x", "y", "w", "h")
_REQUIRED = ("video_uri", *_BOX)
_WHOLE_COLUMNS = ("start_frame", "end_frame", "init_frame")
_NUMBER_COLUMNS = ("start_s", "end_s", "fps", *_BOX)
_CLIP = ("video_uri", "clip_id", "fps", *RANGE_COLUMNS)
CSV_COLUMNS = frozenset((*_CLIP, "object_id", "init_frame", *_BOX, "category", "direction"))
_WHOLE = re.compile(r"([+-]?\d+)(\.0*)?", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?(nan|inf(inity)?)", re.ASCII | re.IGNORECASE)
_OBJECT_PATH = re.compile(r"objects\[(\d+)\](?:\.(?:box\.)?(\w+))?")
_INSERT_ROWS = 5000

UNNAMED = "(one without a name, as pandas writes its index)"
"""What the warning about columns calls a column whose header is empty."""
Record = tuple[str, int, str]
"""Key of the clip, line, and the row's values as JSON."""


def read_csv(piece: ManifestPiece, rules: Rules, log: Log) -> Iterator[Checked]:
    """Check a CSV: first every bad row, then the clips, in the order of their first rows; rows are lines."""
    with _database() as rows:
        records = _records(piece, rules, log)
        while chunk := list(itertools.islice(records, _INSERT_ROWS)):
            yield from (item for item in chunk if isinstance(item, Checked))
            good = [item for item in chunk if not isinstance(item, Checked)]
            rows.executemany("INSERT INTO rows VALUES (?, ?, ?)", good)
        rows.execute("INSERT INTO clips SELECT key, min(line) FROM rows GROUP BY key")
        ordered = rows.execute("SELECT key, line, row FROM rows JOIN clips USING (key) ORDER BY first, line")
        for _, group in itertools.groupby(ordered, key=lambda record: record[0]):
            yield _clip(group, rules)


@contextlib.contextmanager
def _database() -> Iterator[sqlite3.Connection]:
    # An empty name is a temporary file of SQLite's own, gone with the connection.
    with contextlib.closing(sqlite3.connect("")) as connection:
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("CREATE TABLE rows (key TEXT, line INTEGER, row TEXT)")
        # Looked up by its primary key: against a plain subquery the join would scan it once a row.
        connection.execute("CREATE TABLE clips (key TEXT PRIMARY KEY, first INTEGER) WITHOUT ROWID")
        yield connection


def _records(piece: ManifestPiece, rules: Rules, log: Log) -> Iterator[Record | Checked]:
    line = 1
    try:
        with open_csv(piece.file.uri, telling="video_uri") as text:
            line = text.first_line + 1
            if not text.names:
                return
            problems = _check_header(text.names, rules, log)
            if problems:
                yield Checked(line, None, placed(problems, line))
                return
            line = text.line
            for values in text.reader:
                if not is_blank(values):
                    yield _record(text, values, line, rules)
                line = text.line
    except csv.Error as error:
        yield Checked(line, None, [Problem("", "a CSV record", str(error), line)])


def _check_header(names: list[str], rules: Rules, log: Log) -> list[Problem]:
    log.columns.update(name or UNNAMED for name in names if name not in CSV_COLUMNS)
    log.seen.update({name: [Seen(pa.string(), None)] for name in rules.keep if name in names})
    log.columns.update(log.seen)
    missing = [name for name in _REQUIRED if name not in names]
    header = f"the header {show(','.join(names))}"
    problems = [Problem(name, "a column of this name", header) for name in missing]
    for name in sorted({name for name in names if name and names.count(name) > 1}):
        problems.append(Problem(name, "one column of this name", f"{names.count(name)} columns"))
    for name in CSV_COLUMNS.intersection(rules.keep):
        problems.append(Problem(name, "a kept column that describes the clip", "one of its objects'"))
    return problems


def _record(text: CsvText, values: list[str], line: int, rules: Rules) -> Record | Checked:
    names = text.names
    if len(values) > len(names) and is_blank(values[len(names) :]):
        values = values[: len(names)]
    if len(values) != len(names):
        return Checked(line, None, [Problem("", f"{len(names)} values", f"{len(values)}", line)])
    problems: list[Problem] = []
    row: dict[str, Any] = {
        name: value
        for name, value in zip(names, values, strict=True)
        if value and (name in CSV_COLUMNS or name in rules.keep)
    }
    for name in _REQUIRED:
        if name not in row:
            problems.append(Problem(name, "a value", "nothing"))
    if text.decimal_comma:
        for name in (*_WHOLE_COLUMNS, *_NUMBER_COLUMNS):
            if "." not in row.get(name, "."):
                row[name] = row[name].replace(",", ".")
    for name in _WHOLE_COLUMNS:
        if name in row:
            row[name] = _number(row[name], _WHOLE, int, "a whole number", name, problems)
    for name in _NUMBER_COLUMNS:
        if name in row:
            row[name] = _number(row[name], _NUMBER, float, "a number", name, problems)
    for name in rules.keep:
        if any("\ud800" <= char <= "\udfff" for char in row.get(name, "")):
            problems.append(Problem(name, "UTF-8", show(row[name])))
    if problems:
        return Checked(line, None, placed(problems, line))
    key = row.get("clip_id") or default_clip_id(
        row["video_uri"].encode(errors="replace").decode(), *(row.get(name) for name in RANGE_COLUMNS)
    )
    return key.encode(errors="replace").decode(), line, json.dumps(row)


def _number(value: str, form: re.Pattern[str], kind: type, expected: str, column: str, problems: list[Problem]) -> Any:
    match = form.fullmatch(value.strip())
    if match is None:
        problems.append(Problem(column, expected, show(value)))
        return None
    # pandas writes whole numbers of a column with gaps as 12.0.
    return kind(match[1] if kind is int else match[0])


def _clip(records: Iterable[Record], rules: Rules) -> Checked:
    rows = [(line, json.loads(row)) for _, line, row in records]
    first_line, first = rows[0]
    problems = []
    for line, row in rows[1:]:
        for name in (*_CLIP, *rules.keep):
            if row.get(name) != first.get(name):
                expected = f"{show(first.get(name))} as in row {first_line} of the same clip"
                problems.append(Problem(name, expected, show(row.get(name)), line))
        if len(problems) >= MAX_PROBLEMS:
            break
    objects = [
        {
            "object_id": row.get("object_id"),
            "init_frame": row.get("init_frame"),
            "box": [row[name] for name in _BOX],
            "category": row.get("category"),
            "direction": row.get("direction"),
        }
        for _, row in rows
    ]
    clip = check_row({**first, "objects": objects}, rules)
    if isinstance(clip, list):
        problems += [_flat(problem, [line for line, _ in rows]) for problem in clip]
    elif not problems:
        return Checked(first_line, clip, [])
    return Checked(first_line, None, placed(problems, first_line))


def _flat(problem: Problem, lines: list[int]) -> Problem:
    """A problem of a nested object, named by the row and flat column that the object came from."""
    path = _OBJECT_PATH.fullmatch(problem.column)
    if path is None:
        return problem
    expected = _OBJECT_PATH.sub(lambda match: f"row {lines[int(match[1])]}", problem.expected)
    return replace(problem, column=path[2] or "", expected=expected, row=lines[int(path[1])])
