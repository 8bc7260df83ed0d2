"""JSON Lines: one JSON object a line, blank lines passed over; or one JSON array of such objects.

Read here and not by `ray.data.read_text`, which holds a whole file in memory, also ends lines at characters that
JSON strings may contain (U+2028, U+0085), and gives no line numbers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa

from pipeline import storage
from pipeline.manifest import kept_columns
from pipeline.manifest.check import Rules, check_row
from pipeline.manifest.checked import Checked, Log, placed
from pipeline.manifest.files import BEGINNING, ManifestPiece, begins_array
from pipeline.manifest.json_array import read_array
from pipeline.manifest.problems import Problem, show

LONGEST_LINE = 64 << 20
_CHUNK = 1 << 16
_BOM = b"\xef\xbb\xbf"


def read_lines(piece: ManifestPiece, rules: Rules, log: Log) -> Iterator[Checked]:
    """Check the lines that begin in a piece, or the objects of an array; rows count from the piece's first line."""
    for row, values, problems in _objects(piece, log):
        if values is None:
            yield Checked(row, None, placed(problems, row))
            continue
        log.note(values)
        for name in rules.keep:
            problems += kept_columns.check_json(values.get(name), name, row, log.seen)
        clip = check_row(values, rules)
        if isinstance(clip, list):
            problems = clip + problems
        if problems:
            yield Checked(row, None, placed(problems, row))
        elif not isinstance(clip, list):
            yield Checked(row, clip, [])


def _objects(piece: ManifestPiece, log: Log) -> Iterator[tuple[int, dict[str, Any] | None, list[Problem]]]:
    """Line, object and problems of each; the object is None where there is a problem."""
    uri = piece.file.uri
    with storage.reporting(uri, "read"):
        if piece.file.compressed:
            # A stream decompresses by the name's end, and cannot go back.
            with storage.open_stream(uri) as stream:
                array = begins_array(stream.read(BEGINNING))
            with storage.open_stream(uri) as stream:
                yield from _array(stream, log) if array else _each_line(_stream(stream), piece, log)
            return
        with storage.open_file(uri) as file:
            if piece.start == 0 and begins_array(file.read(BEGINNING)):
                file.seek(0)
                yield from _array(file, log)
            else:
                yield from _each_line(_lines(file, piece), piece, log)


def _array(source: pa.NativeFile, log: Log) -> Iterator[tuple[int, dict[str, Any] | None, list[Problem]]]:
    for item in read_array(source):
        log.rows = item.line
        fault = item.problem
        if fault is None and type(item.value) is not dict:
            fault = Problem("", "one JSON object in the array", show(item.value))
        yield (item.line, item.value, []) if fault is None else (item.line, None, [fault])


def _each_line(
    lines: Iterable[bytes], piece: ManifestPiece, log: Log
) -> Iterator[tuple[int, dict[str, Any] | None, list[Problem]]]:
    for row, line in enumerate(lines, start=1):
        log.rows = row
        if line.isspace() or not line:
            continue
        if piece.start == 0 and row == 1 and line.strip() == b"{":
            expected = "one JSON object a line, or one JSON array"
            yield row, None, [Problem("", expected, "an object over several lines (jq -c . writes it on one)")]
            return
        yield row, *_parse(line)


def _parse(line: bytes) -> tuple[dict[str, Any] | None, list[Problem]]:
    expected = "one JSON object on the line"
    if len(line) > LONGEST_LINE:
        return None, [Problem("", f"a line of at most {LONGEST_LINE >> 20} MiB", "a longer one")]
    try:
        values = json.loads(line.decode())
    except UnicodeDecodeError as error:
        return None, [Problem("", "UTF-8", f"byte {line[error.start]:#04x} at column {error.start + 1}")]
    except RecursionError:
        return None, [Problem("", expected, "JSON nested too deep")]
    except ValueError as error:
        column = f" at column {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else ""
        shown = show(line[:200].decode(errors="replace").strip())
        return None, [Problem("", expected, f"no JSON{column}: {shown}")]
    if type(values) is not dict:
        return None, [Problem("", expected, show(values))]
    return values, []


def _lines(file: pa.NativeFile, piece: ManifestPiece) -> Iterator[bytes]:
    """The lines that begin in the piece, the last one to its end wherever that is, without line ends."""
    # From one byte before: a line begins here only where that byte ends another.
    file.seek(max(piece.start - 1, 0))
    data = file.read(piece.end - max(piece.start - 1, 0))
    if piece.start > 0:
        first = data.find(b"\n")
        if first < 0 or first + 1 == len(data):
            return
        data = data[first + 1 :]
    else:
        data = data.removeprefix(_BOM)
    lines = data.split(b"\n")
    last = lines.pop()
    yield from lines
    if last:
        chunks = [last]
        while sum(map(len, chunks)) <= LONGEST_LINE and (more := file.read(_CHUNK)):
            end = more.find(b"\n")
            chunks.append(more if end < 0 else more[:end])
            if end >= 0:
                break
        yield b"".join(chunks)


def _stream(source: pa.NativeFile) -> Iterator[bytes]:
    """The lines of a stream, without line ends; nothing after one that is too long."""
    rest = source.read(_CHUNK).removeprefix(_BOM)
    while len(rest) <= LONGEST_LINE and (more := source.read(_CHUNK)):
        *whole, rest = (rest + more).split(b"\n")
        yield from whole
    yield from rest.split(b"\n")
